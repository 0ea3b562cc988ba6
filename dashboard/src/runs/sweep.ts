/** Axes of sweep charts: parameters (tags whose values differ) and metrics of runs, as numbers or as categories. */
import { toNumber, type Run, Kind } from "../lib/types";
import type { Column } from "./columns";

export interface SweepAxis {
  id: string;
  title: string;
  values: (number | null)[];
  /** Names of the positions 0, 1, ... of an axis of categories; null: numbers. */
  categories: string[] | null;
  min: number;
  max: number;
  log: boolean;
}

const MOST_CATEGORIES = 30;

/** The axes on which the runs differ. */
export function sweepAxes(runs: readonly Run[], columns: readonly Column[]): SweepAxis[] {
  const axes: SweepAxis[] = [];
  const keys = [...new Set(runs.flatMap((run) => Object.keys(run.tags)))].sort();
  for (const key of keys) {
    const axis = axisOf(`tag:${key}`, key, runs.map((run) => run.tags[key] ?? null));
    if (axis) axes.push(axis);
  }
  for (const column of columns) {
    if (!column.metric) continue;
    const values = runs.map((run) => {
      const summary = run.summaries?.[column.metric];
      if (!summary || summary.kind === Kind.text) return null;
      return toNumber(summary[column.sub as "last"]);
    });
    const axis = axisOf(column.id, `${column.title} ${column.sub}`, values.map((value) => (value === null ? null : String(value))));
    if (axis) axes.push(axis);
  }
  return axes;
}

function axisOf(id: string, title: string, texts: (string | null)[]): SweepAxis | null {
  const present = texts.filter((text) => text !== null && text !== "");
  if (new Set(present).size < 2) return null;
  if (present.every((text) => Number.isFinite(Number(text)))) {
    const values = texts.map((text) => (text === null || text === "" ? null : Number(text)));
    const numbers = values.filter((value) => value !== null);
    const min = Math.min(...numbers);
    const max = Math.max(...numbers);
    // Over two orders of magnitude, all above zero: such a parameter was meant to be seen by its exponent.
    return { id, title, values, categories: null, min, max, log: min > 0 && max / min > 100 };
  }
  const categories = [...new Set(present as string[])].sort();
  if (categories.length > MOST_CATEGORIES) return null;
  const values = texts.map((text) => (text === null ? null : categories.indexOf(text)));
  return { id, title, values, categories, min: 0, max: categories.length - 1, log: false };
}

/** Place of a value on its axis, 0 (least) to 1. */
export function place(axis: SweepAxis, value: number): number {
  if (axis.max === axis.min) return 0.5;
  if (axis.log) return Math.log(value / axis.min) / Math.log(axis.max / axis.min);
  return (value - axis.min) / (axis.max - axis.min);
}

/** The value at a place. */
export function valueAt(axis: SweepAxis, part: number): number {
  return axis.log ? axis.min * Math.pow(axis.max / axis.min, part) : axis.min + part * (axis.max - axis.min);
}

export type Brushes = Record<string, [number, number]>;

/** Which runs pass all brushes (ranges of places on axes). */
export function passing(axes: readonly SweepAxis[], brushes: Brushes, count: number): boolean[] {
  return Array.from({ length: count }, (_, i) =>
    axes.every((axis) => {
      const brush = brushes[axis.id];
      if (!brush) return true;
      const value = axis.values[i];
      if (value === null || value === undefined) return false;
      const at = place(axis, value);
      return at >= brush[0] && at <= brush[1];
    }),
  );
}

