/** The statistics of a metric as a chart over runs: where each run stands on x, and its least, greatest, mean and last value. */
import { padded, type Range } from "../chart/draw";
import type { ChartRun } from "../chart/traces";
import { toNumber, type Run } from "../lib/types";
import { place, type SweepAxis } from "../runs/sweep";

export const STATS = ["last", "min", "max", "mean"] as const;
export type Shown = (typeof STATS)[number];

export interface Mark {
  line: ChartRun;
  /** 0 to 1. */
  x: number;
  values: Record<Shown, number | null>;
}

/** A mark for each shown run that has the metric and a place on the axis, from left to right. */
export function marksOf(
  runs: readonly Run[],
  lines: readonly ChartRun[],
  axis: SweepAxis,
  metric: string,
): Mark[] {
  const finite = (value: number | null) => (value !== null && Number.isFinite(value) ? value : null);
  return runs
    .flatMap((run, i): Mark[] => {
      const line = lines[i];
      const at = axis.values[i];
      const summary = run.summaries?.[metric];
      if (!line || line.hidden || at === null || at === undefined || !summary) return [];
      const values = Object.fromEntries(
        STATS.map((stat) => [stat, finite(toNumber(summary[stat]))]),
      ) as Mark["values"];
      return [{ line, x: place(axis, at), values }];
    })
    .sort((a, b) => a.x - b.x);
}

/** What y shows of some statistics; null: none of the marks has one. */
export function rangeOf(marks: readonly Mark[], stats: ReadonlySet<Shown>, log: boolean): Range | null {
  let min = Infinity;
  let max = -Infinity;
  for (const { values } of marks)
    for (const stat of stats) {
      const value = values[stat];
      if (value === null || (log && value <= 0)) continue;
      min = Math.min(min, value);
      max = Math.max(max, value);
    }
  return min <= max ? padded(min, max, log) : null;
}

/** The mark nearest to a place on x; null: there is none. */
export function nearestMark(marks: readonly Mark[], x: number): Mark | null {
  let best: Mark | null = null;
  for (const mark of marks) if (!best || Math.abs(mark.x - x) < Math.abs(best.x - x)) best = mark;
  return best;
}
