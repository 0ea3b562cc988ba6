/** Which range of x and of y a chart shows. */
import type { Extent, Range } from "./draw";
import type { Frame } from "./frame";
import type { View } from "./view.svelte";

/** The view's range of x, else that of the points there are; never an empty one. */
export function xRangeOf(view: View, frames: readonly Frame[]): Range {
  const held = frames.filter((frame) => frame.lines.length);
  const min = view.from ?? (held.length ? Math.min(...held.map((frame) => frame.first)) : 0);
  const max = view.to ?? (held.length ? Math.max(...held.map((frame) => frame.last)) : 1);
  return max > min ? { min, max } : { min: min - 0.5, max: min + 0.5 };
}

/** The view's range of y, else that of the values in sight. */
export function yRangeOf({ y, log }: View, extent: Extent): Range {
  return (
    (y && (!log || y.min > 0) ? y : null) ??
    extent.range ??
    (log ? { min: 0.1, max: 10 } : { min: 0, max: 1 })
  );
}
