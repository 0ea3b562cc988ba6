/** What a metric's chart has of its own wherever it is shown, kept in this browser by the metric's name. */
import type { Own, View } from "./view.svelte";

const KEY = "runstream.metrics";
const MOST_KEPT = 500;
const FIELDS = ["axis", "smoothing", "log", "logX", "withoutOutliers"] as const;

/** What of a chart's view is kept: no range belongs to all runs of a metric. */
type Kept = Pick<Own, (typeof FIELDS)[number]> & {
  /** Of one value a run: over what its points are; missing: it is shown as bars. */
  scatter?: string;
};

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
  const scatter = keptOf(metric)?.scatter;
  const own = Object.fromEntries(FIELDS.map((field) => [field, view[field]])) as Kept;
  put(metric, scatter === undefined ? own : { ...own, scatter });
}

function put(metric: string, own: Kept): void {
  write([...Object.entries(all).filter(([name]) => name !== metric), [metric, own]]);
}

/** Show a metric of one value a run as points over an axis; empty: over whatever comes first; null: as bars. */
export function keepScatter(metric: string, axis: string | null): void {
  const { scatter: _, ...own } = keptOf(metric) ?? {};
  if (axis !== null) put(metric, { ...own, scatter: axis });
  else if (Object.keys(own).length) put(metric, own);
  else forget(metric);
}

export function forget(metric: string): void {
  write(Object.entries(all).filter(([name]) => name !== metric));
}
