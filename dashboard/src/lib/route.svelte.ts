/** Where we are. The address holds the whole view: a path and parameters, so that it can be shared. */
export const route = $state({ path: location.pathname, params: new URLSearchParams(location.search) });

function read(): void {
  route.path = location.pathname;
  route.params = new URLSearchParams(location.search);
}

export function go(address: string): void {
  history.pushState(null, "", address);
  read();
  window.scrollTo(0, 0);
}

export type Changes = Record<string, string | null>;

/** Change parameters; null removes one (a bare address means defaults). `push`: a step that "back" undoes. */
export function setParams(changes: Changes, push = false): void {
  const params = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === "") params.delete(name);
    else params.set(name, value);
  }
  const text = params.toString();
  const address = location.pathname + (text ? `?${text}` : "");
  if (address === location.pathname + location.search) return;
  if (push) history.pushState(null, "", address);
  else history.replaceState(null, "", address);
  read();
}

export function param(name: string): string | null {
  return route.params.get(name);
}

/** Links within the dashboard are followed without a load, unless the user wants another tab. */
export function followLinks(): void {
  addEventListener("popstate", read);
  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = (event.target as Element | null)?.closest("a");
    if (!link || link.target || link.hasAttribute("download") || link.origin !== location.origin) return;
    if (link.pathname.startsWith("/api/") || link.pathname === "/docs") return;
    event.preventDefault();
    go(link.pathname + link.search);
  });
}
