import { untrack } from "svelte";

/** Where we are. The address holds the whole view: a path and parameters, so that it can be shared. */
export const route = $state({ path: location.pathname, params: new URLSearchParams(location.search) });

function read(): void {
  route.path = location.pathname;
  route.params = new URLSearchParams(location.search);
}

// The address follows a drag or a slider when it rests: browsers refuse more than some 20 changes of it a second, and each
// costs a frame a millisecond.
const REST = 150;
let unwritten: string | null = null;
let writing: ReturnType<typeof setTimeout> | undefined;

/** Path and parameters of what is shown, whether the browser's address has them yet or not. */
export function here(): string {
  return unwritten ?? location.pathname + location.search;
}

/** Bring the browser's address up to date. */
function write(): void {
  clearTimeout(writing);
  if (unwritten !== null) history.replaceState(null, "", unwritten);
  unwritten = null;
}

/** How we came here: by the browser's back or forward, or otherwise. A list then shows what it showed. */
export const arrival = { back: false };

export function go(address: string): void {
  arrival.back = false;
  write();
  history.pushState(null, "", address);
  read();
  window.scrollTo(0, 0);
}

/** Show another address in place of the one somebody came by. */
export function redirect(address: string): void {
  history.replaceState(null, "", address);
  read();
}

// Steps back and forth within a page: changes that follow one another quickly (a slider) are one.
const TOGETHER = 500;
let undone: string[] = [];
const done: string[] = [];
let changedAt = -1e9;
let changed = "";

function remember(params: string): void {
  const now = performance.now();
  if (now - changedAt > TOGETHER || params !== changed) done.push(here());
  changedAt = now;
  changed = params;
  undone = [];
}

/** Undo the last change of the view of this page, or do it again. */
export function stepView(back: boolean): boolean {
  const [from, to] = back ? [done, undone] : [undone, done];
  const address = from.at(-1);
  if (!address || address.split("?")[0] !== location.pathname) return false;
  from.pop();
  to.push(here());
  changed = "";
  unwritten = null;
  history.replaceState(null, "", address);
  read();
  return true;
}

type Changes = Record<string, string | null>;

/**
 * Change parameters; null removes one (a bare address means defaults). `how`: true, a step that "back" undoes; "drag", one of
 * many that follow one another, of which the address gets the last.
 */
export function setParams(changes: Changes, how: boolean | "drag" = false): void {
  const params = new URLSearchParams(untrack(() => route.params));
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === "") params.delete(name);
    else params.set(name, value);
  }
  const text = params.toString();
  const address = location.pathname + (text ? `?${text}` : "");
  if (address === here()) return;
  remember(Object.keys(changes).join());
  clearTimeout(writing);
  if (how === "drag") {
    unwritten = address;
    writing = setTimeout(write, REST);
  } else {
    unwritten = null; // "back" leads to what was shown before the drag
    if (how) history.pushState(null, "", address);
    else history.replaceState(null, "", address);
  }
  route.params = params;
}

export function param(name: string): string | null {
  return route.params.get(name);
}

/** Links within the dashboard are followed without a load, unless the user wants another tab. */
export function followLinks(): void {
  addEventListener("pagehide", write);
  addEventListener("popstate", () => {
    arrival.back = true;
    clearTimeout(writing);
    unwritten = null;
    read();
  });
  document.addEventListener("click", (event) => {
    if (
      event.defaultPrevented ||
      event.button !== 0 ||
      event.metaKey ||
      event.ctrlKey ||
      event.shiftKey ||
      event.altKey
    )
      return;
    const link = (event.target as Element | null)?.closest("a");
    if (!link || link.target || link.hasAttribute("download") || link.origin !== location.origin) return;
    if (link.pathname.startsWith("/api/") || link.pathname === "/docs") return;
    event.preventDefault();
    go(link.pathname + link.search);
  });
}
