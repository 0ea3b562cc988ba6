/** Which points lie at the pointer, and how they read. */
import { formatNumber } from "../lib/format";
import { toY, type Transform } from "./draw";
import { nearest } from "./frame";
import type { Trace } from "./traces";

export interface Near {
  trace: Trace;
  index: number;
  distance: number;
}

/** The point of each line nearest in x, the line nearest in y first; without a height in the lines' own order. */
export function nearTraces(traces: readonly Trace[], t: Transform, x: number, top: number | null): Near[] {
  const near: Near[] = [];
  for (const trace of traces) {
    const index = nearest(trace.line.x, x);
    if (index < 0) continue;
    const value = (trace.line.smooth ?? trace.line.last)[index]!;
    const py = Number.isFinite(value) && (!t.log || value > 0) ? toY(t, value) : 1e6;
    near.push({ trace, index, distance: top === null ? 0 : Math.abs(py - top) });
  }
  return top === null ? near : near.sort((a, b) => a.distance - b.distance);
}

/** The value, and what lies around it in its bucket or its group. */
export function valueText({ trace, index }: Near): { value: string; spread: string } {
  const { line } = trace;
  const mark = line.marks?.[index] ?? 0;
  const last = line.last[index]!;
  let value = Number.isNaN(last)
    ? mark & 1
      ? "NaN"
      : mark & 2
        ? "∞"
        : mark & 4
          ? "−∞"
          : "–"
    : formatNumber(last, 6);
  if (line.n) {
    const sd = line.high[index]! - last;
    return { value, spread: `${sd > 0 ? `± ${formatNumber(sd, 3)} ` : ""}n ${line.n[index]}` };
  }
  if (line.smooth) value = `${formatNumber(line.smooth[index]!, 6)} (raw ${value})`;
  const wide = line.low[index]! < line.high[index]!;
  return {
    value,
    spread: wide ? `${formatNumber(line.low[index]!)} … ${formatNumber(line.high[index]!)}` : "",
  };
}
