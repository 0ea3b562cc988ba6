/** Light or dark: the system's wish, unless the user chose. */
type Theme = "system" | "light" | "dark";

const system = matchMedia("(prefers-color-scheme: dark)");

function stored(): Theme {
  const stored = localStorage.getItem("runstream-theme");
  return stored === "light" || stored === "dark" ? stored : "system";
}

export const theme = $state<{ choice: Theme; dark: boolean }>({ choice: "system", dark: false });

function apply(): void {
  theme.dark = theme.choice === "dark" || (theme.choice === "system" && system.matches);
  document.documentElement.dataset.theme = theme.dark ? "dark" : "light";
}

export function chooseTheme(choice: Theme): void {
  theme.choice = choice;
  if (choice === "system") localStorage.removeItem("runstream-theme");
  else localStorage.setItem("runstream-theme", choice);
  apply();
}

/** The page is ours: dress it, and follow the system. A notebook's widget has its own way. */
export function startTheme(): void {
  theme.choice = stored();
  system.addEventListener("change", apply);
  apply();
}
