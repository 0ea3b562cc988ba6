/** Whether a notebook's page is dark: by what JupyterLab and VS Code say of themselves, else by the colour behind us. */

function isDark(element: Element): boolean {
  const { dataset, classList } = document.body;
  if (dataset.jpThemeLight) return dataset.jpThemeLight === "false";
  if (dataset.vscodeThemeKind) return !dataset.vscodeThemeKind.includes("light");
  if (classList.contains("vscode-dark")) return true;
  for (let at: Element | null = element; at; at = at.parentElement) {
    const [red, green, blue, alpha = 1] = (getComputedStyle(at).backgroundColor.match(/[\d.]+/g) ?? []).map(
      Number,
    );
    if (red !== undefined && alpha > 0) return 0.3 * red + 0.59 * green! + 0.11 * blue! < 128;
  }
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

/** Calls back now and whenever the notebook changes its colours; returns what ends that. */
export function onDark(element: Element, changed: (dark: boolean) => void): () => void {
  const look = () => changed(isDark(element));
  const observer = new MutationObserver(look);
  observer.observe(document.body, {
    attributes: true,
    attributeFilter: ["class", "data-jp-theme-light", "data-vscode-theme-kind", "style"],
  });
  const system = matchMedia("(prefers-color-scheme: dark)");
  system.addEventListener("change", look);
  look();
  return () => {
    observer.disconnect();
    system.removeEventListener("change", look);
  };
}
