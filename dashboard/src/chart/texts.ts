/** How a chart's x reads, and what is to be said below it. */
import { formatDuration, formatNumber, formatStep, formatTime } from "../lib/format";
import type { Extent } from "./draw";
import { metricOf, type Axis, type Line } from "./frame";
import type { View } from "./view.svelte";

/** A value of x: short beside the axis, `full` where it is read. */
export function xText(axis: Axis, x: number, full = false): string {
  const metric = metricOf(axis);
  if (metric) return full ? `${metric} ${formatNumber(x, 6)}` : formatNumber(x, 4);
  if (axis === "time") return formatTime(new Date(x * 1000).toISOString());
  if (axis === "relative") return formatDuration(x);
  return full ? `step ${Math.round(x).toLocaleString("en")}` : formatStep(x);
}

function bucketText(axis: Axis, bucket: number): string {
  const metric = metricOf(axis);
  if (metric) return `${formatNumber(bucket)} ${metric}`;
  return axis === "step" ? `${formatStep(bucket)} steps` : formatDuration(bucket);
}

/** What the note under a chart says of its lines. */
interface Facts {
  any: boolean;
  /** Some buckets hold several values. */
  banded: boolean;
  /** Some values are no numbers. */
  marked: boolean;
}

export function factsOf(lines: readonly Line[]): Facts {
  return {
    any: lines.length > 0,
    banded: lines.some((line) => line.low !== line.last),
    marked: lines.some((line) => line.marks?.some((mark) => mark > 0)),
  };
}

/** What the lines do not say by themselves: that they are means, or hold more than is drawn. */
export function noteOf(view: View, facts: Facts, grouped: boolean, bucket: number, extent: Extent): string {
  const parts: string[] = [];
  if (facts.any) {
    if (grouped) parts.push("mean ± sd");
    else if (facts.banded) parts.push(`min–max of ${bucketText(view.axis, bucket)}`);
    if (view.smoothing) parts.push(`smoothed ${view.smoothing}`);
    if (extent.outside) parts.push(`${extent.outside} outside`);
    if (extent.hidden) parts.push(`${extent.hidden} ≤ 0 not shown`);
    if (facts.marked) parts.push("NaN or ∞ marked");
  }
  return parts.join(" · ");
}

/** What somebody types for a value of x: a number, or a moment; null: nothing, undefined: neither. */
export function readX(axis: Axis, text: string): number | null | undefined {
  const typed = text.trim();
  if (!typed) return null;
  const value = axis === "time" ? Date.parse(typed) / 1000 : Number(typed);
  return Number.isFinite(value) ? value : undefined;
}

/** The same, to be typed over. */
export function writeX(axis: Axis, value: number | null): string {
  if (value === null) return "";
  if (axis !== "time") return String(Number(value.toPrecision(12)));
  const at = new Date(value * 1000);
  const two = (part: number) => String(part).padStart(2, "0");
  const day = [at.getFullYear(), two(at.getMonth() + 1), two(at.getDate())].join("-");
  return `${day} ${[at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join(":")}`;
}
