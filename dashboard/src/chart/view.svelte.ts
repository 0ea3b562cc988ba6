/**
 * How charts are shown, as the address has it: x axis, range, smoothing, scale. What a section or a chart has of its own stands
 * above what the page says.
 */
import { param, setParams } from "../lib/route.svelte";
import type { Range } from "./draw";
import { metricOf, MOST_SMOOTHING, type Axis } from "./frame";

export interface View {
  axis: Axis;
  from: number | null;
  to: number | null;
  smoothing: number;
  log: boolean;
  /** Whether x is logarithmic; wall time never is. */
  logX: boolean;
  withoutOutliers: boolean;
  /** The range of y; null, and an end that is not there: what is in sight. */
  y: Partial<Range> | null;
}

/** What a section or a chart can have of its own. */
export type Own = Partial<
  Pick<View, "axis" | "from" | "to" | "smoothing" | "log" | "logX" | "withoutOutliers" | "y">
>;

function number(name: string): number | null {
  const text = param(name);
  if (text === null) return null;
  const value = Number(text);
  return Number.isFinite(value) ? value : null;
}

function axisOf(text: unknown): Axis {
  if (typeof text === "string" && metricOf(text as Axis)) return text as Axis;
  return text === "time" || text === "relative" ? text : "step";
}

/** The page's view. */
export function readView(): View {
  return {
    axis: axisOf(param("x")),
    from: number("from"),
    to: number("to"),
    smoothing: Math.min(Math.max(number("smooth") ?? 0, 0), MOST_SMOOTHING),
    log: param("log") === "1",
    logX: param("logx") === "1",
    withoutOutliers: param("outliers") === "0",
    y: null,
  };
}

/** Own settings by what has them: the name of a metric, or `section:` and the name of a section. */
export function readOwn(text = param("own")): Record<string, Own> {
  if (!text) return {};
  try {
    const parsed: unknown = JSON.parse(text);
    return parsed && typeof parsed === "object" && !Array.isArray(parsed)
      ? (parsed as Record<string, Own>)
      : {};
  } catch {
    return {}; // an address that was cut: the page's settings hold
  }
}

/**
 * The view of a chart: the page's, then what each layer has of its own: what is said of its metric, its section, what is kept of its
 * metric, the chart itself. A range belongs to its axis and is not inherited by another.
 */
export function viewOf(page: View, ...layers: readonly (Own | undefined)[]): View {
  const view = { ...page };
  for (const own of layers) {
    if (!own) continue;
    if (own.axis && own.axis !== view.axis) view.from = view.to = null;
    Object.assign(view, own);
  }
  return view;
}

/** Change what a section or a chart has of its own; undefined: as the page has it; null instead of changes: nothing of its own. */
export function setOwn(
  key: string,
  changes: { [K in keyof Own]: Own[K] | undefined } | null,
  push = true,
): void {
  const all = readOwn();
  const own: Record<string, unknown> = changes ? { ...all[key], ...changes } : {};
  for (const [name, value] of Object.entries(own)) if (value === undefined) delete own[name];
  if (Object.keys(own).length) all[key] = own as Own;
  else delete all[key];
  setParams({ own: Object.keys(all).length ? JSON.stringify(all) : null }, push || "drag");
}

const digits = (value: number) => String(Number(value.toPrecision(12)));

/** Zoom; null: everything, and follow what comes. */
export function setRange(from: number | null, to: number | null, push = true): void {
  setParams(
    { from: from === null ? null : digits(from), to: to === null ? null : digits(to) },
    push || (from !== null && "drag"),
  );
}

/** The page's x; null: as metrics are defined, else the step. Ranges that charts have of the former x are left. */
export function setAxis(axis: Axis | null): void {
  const own = readOwn();
  for (const [name, { from: _, to: __, ...others }] of Object.entries(own))
    if (Object.keys(others).length) own[name] = own[name]!.axis ? own[name]! : others;
    else delete own[name];
  const text = Object.keys(own).length ? JSON.stringify(own) : null;
  setParams({ x: axis, from: null, to: null, own: text }, true);
}

export function setSmoothing(value: number, push = false): void {
  setParams({ smooth: value > 0 ? String(Math.min(value, MOST_SMOOTHING)) : null }, push || "drag");
}

export function toggleLog(): void {
  setParams({ log: param("log") === "1" ? null : "1" }, true);
}

export function toggleLogX(): void {
  setParams({ logx: param("logx") === "1" ? null : "1" }, true);
}

export function toggleOutliers(): void {
  setParams({ outliers: param("outliers") === "0" ? null : "0" }, true);
}
