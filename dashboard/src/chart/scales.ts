/** Which range of x and of y a chart shows, and how x is laid out. */
import type { Extent, Range } from "./draw";
import { lowerBound, type Frame } from "./frame";
import type { View } from "./view.svelte";

/** Whether x is logarithmic: a moment has no logarithm that says anything. */
export function isLogX({ logX, axis }: Pick<View, "logX" | "axis">): boolean {
  return logX && axis !== "time";
}

/** The view's range of x, else that of the points there are; never an empty one, and on a log axis above 0. */
export function xRangeOf(view: View, frames: readonly Frame[]): Range {
  const held = frames.filter((frame) => frame.lines.length);
  const min = view.from ?? (held.length ? Math.min(...held.map((frame) => frame.first)) : 0);
  const max = view.to ?? (held.length ? Math.max(...held.map((frame) => frame.last)) : 1);
  if (isLogX(view)) return logRange(min, max, held);
  return max > min ? { min, max } : { min: min - 0.5, max: min + 0.5 };
}

function logRange(min: number, max: number, frames: readonly Frame[]): Range {
  if (min <= 0) {
    min = Infinity;
    for (const { lines } of frames)
      for (const { x } of lines) min = Math.min(min, x[lowerBound(x, Number.MIN_VALUE)] ?? Infinity);
    if (min === Infinity) min = 1;
  }
  return max > min ? { min, max } : { min: min / 2, max: min * 2 };
}

/** The view's range of y, else that of the values in sight, each end by itself. */
export function yRangeOf({ y, log }: View, extent: Extent): Range {
  const seen = extent.range ?? (log ? { min: 0.1, max: 10 } : { min: 0, max: 1 });
  const { min = seen.min, max = seen.max } = y ?? {};
  return max > min && (!log || min > 0) ? { min, max } : seen;
}

/** Moving and zooming are the same on every scale once x is laid out evenly. */
export function evenly({ min, max }: Range, log: boolean): Range {
  return log ? { min: Math.log(min), max: Math.log(max) } : { min, max };
}

export function asX({ min, max }: Range, log: boolean): Range {
  return log ? { min: Math.exp(min), max: Math.exp(max) } : { min, max };
}
