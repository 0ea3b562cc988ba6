/** What a metric's chart has of its own wherever it is shown, kept in this browser by the metric's name. */
import type { Own, View } from "./view.svelte";

const KEY = "runstream.metrics";
const MOST_KEPT = 500;
const FIELDS = ["axis", "smoothing", "log", "logX", "withoutOutliers"] as const;

/** What of a chart's view is kept: no range belongs to all runs of a metric. */
type Kept = Pick<Own, (typeof FIELDS)[number]>;

function read(): Record<string, Kept> {
  try {
    const held = JSON.parse(localStorage.getItem(KEY) ?? "{}") as unknown;
    if (!held || typeof held !== "object") return {};
    return Object.fromEntries(Object.entries(held).filter(([, own]) => own && typeof own === "object"));
  } catch {
    return {};
  }
}

let all = $state.raw<Record<string, Kept>>(read());

function write(next: [string, Kept][]): void {
  all = Object.fromEntries(next.slice(-MOST_KEPT));
  try {
    localStorage.setItem(KEY, JSON.stringify(all));
  } catch {
    // no storage, or it is full: it holds as long as the page
  }
}

/** What is kept of a metric; undefined: nothing. */
export function keptOf(metric: string): Kept | undefined {
  return Object.hasOwn(all, metric) ? all[metric] : undefined;
}

/** Keep how a metric's chart is shown now. */
export function keep(metric: string, view: View): void {
  const own = Object.fromEntries(FIELDS.map((field) => [field, view[field]])) as Kept;
  write([...Object.entries(all).filter(([name]) => name !== metric), [metric, own]]);
}

export function forget(metric: string): void {
  write(Object.entries(all).filter(([name]) => name !== metric));
}
