/** Axes of sweep charts: parameters and tags whose values differ, and metrics of runs, as numbers or as categories. */
import { cutMiddle, formatDuration, formatNumber, formatTime, runSeconds } from "../lib/format";
import { toNumber, type Run, Kind } from "../lib/types";
import { parametersOf } from "../run/facts";
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
  /** How its values are written; missing: as numbers. */
  format?: (value: number) => string;
}

const MOST_CATEGORIES = 30;

/**
 * What runs have besides: when and in which order they ran, and how long. Not parameters, but something to plot over. `numberFirst`:
 * the order comes first, and is there for a single run too.
 */
export function factAxes(runs: readonly Run[], numberFirst = false): SweepAxis[] {
  const axis = (
    id: string,
    title: string,
    values: (number | null)[],
    format?: (value: number) => string,
    least = 2,
  ): SweepAxis[] => {
    const numbers = values.filter((value) => value !== null);
    if (new Set(numbers).size < least) return [];
    const [min, max] = [numbers.reduce((a, b) => Math.min(a, b)), numbers.reduce((a, b) => Math.max(a, b))];
    return [{ id, title, values, categories: null, min, max, log: false, ...(format && { format }) }];
  };
  const started = runs.map((run) => (run.start_time_utc ? Date.parse(run.start_time_utc) : null));
  const times = started.filter((time) => time !== null);
  const within =
    times.reduce((a, b) => Math.max(a, b), 0) - times.reduce((a, b) => Math.min(a, b), Infinity) < 86_400_000;
  const numbers = axis(
    "number",
    "run number",
    runs.map((run) => run.number),
    (value) => (Number.isInteger(value) ? String(value) : ""),
    numberFirst ? 1 : 2,
  );
  return [
    ...(numberFirst ? numbers : []),
    // Within a day the time tells runs apart, over days the date does.
    ...axis("started", "started", started, (value) =>
      formatTime(new Date(value).toISOString()).slice(...(within ? [11] : [0, -3])),
    ),
    ...(numberFirst ? [] : numbers),
    ...axis(
      "duration",
      "duration",
      runs.map((run) => (run.end_time_utc ? runSeconds(run, 0) : null)),
      formatDuration,
    ),
  ];
}

/** The axes on which the runs differ. */
export function sweepAxes(runs: readonly Run[], columns: readonly Column[]): SweepAxis[] {
  const axes: SweepAxis[] = [];
  const keys = [...new Set(runs.flatMap((run) => Object.keys(run.tags)))].sort();
  for (const key of keys) {
    const axis = axisOf(
      `tag:${key}`,
      key,
      runs.map((run) => run.tags[key] ?? null),
    );
    if (axis) axes.push(axis);
  }
  const given = runs.map((run) => new Map(parametersOf(run)));
  for (const key of [...new Set(given.flatMap((facts) => [...facts.keys()]))].sort()) {
    if (keys.includes(key)) continue; // a tag of that name says it already
    const axis = axisOf(
      `param:${key}`,
      key,
      given.map((facts) => facts.get(key) ?? null),
    );
    if (axis) axes.push(axis);
  }
  for (const column of columns) {
    if (!column.metric) continue;
    const values = runs.map((run) => {
      const summary = run.summaries?.[column.metric];
      if (!summary || summary.kind === Kind.text) return null;
      return toNumber(summary[column.sub as "last"]);
    });
    const axis = axisOf(
      column.id,
      `${column.title} ${column.sub}`,
      values.map((value) => (value === null ? null : String(value))),
    );
    if (axis) axes.push(axis);
  }
  return axes;
}

/** An axis of numbers, as far as they are finite and `shown`; of the rest there is none. Null: none is left. */
export function numbersAxis(
  id: string,
  title: string,
  all: readonly (number | null)[],
  shown: readonly boolean[],
  log = false,
): SweepAxis | null {
  const values = all.map((value, i) => (shown[i] && value !== null && Number.isFinite(value) ? value : null));
  const numbers = values.filter((value) => value !== null);
  if (!numbers.length) return null;
  const min = numbers.reduce((a, b) => Math.min(a, b));
  const max = numbers.reduce((a, b) => Math.max(a, b));
  return { id, title, values, categories: null, min, max, log: min > 0 && (log || max / min > 100) };
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

/** What an axis has of a run, as data: a number, or the name of its category. */
export function cellOf(axis: SweepAxis, run: number): number | string | null {
  const value = axis.values[run] ?? null;
  return value !== null && axis.categories ? (axis.categories[value] ?? null) : value;
}

/** A value as its axis has it, with so many digits. */
export function write(axis: SweepAxis, value: number, digits: number): string {
  if (axis.categories) return cutMiddle(axis.categories[value] ?? "", digits > 3 ? 60 : 14);
  return axis.format ? axis.format(value) : formatNumber(value, digits);
}

/** Values at which an axis is marked: round numbers, powers of ten where it is logarithmic, each category. */
export function marks(axis: SweepAxis, most: number): number[] {
  if (axis.categories) return axis.categories.map((_, i) => i);
  if (axis.log) {
    const [from, to] = [Math.floor(Math.log10(axis.min)), Math.ceil(Math.log10(axis.max))];
    const every = Math.max(1, Math.ceil((to - from) / most));
    const powers = Array.from({ length: Math.floor((to - from) / every) + 1 }, (_, i) =>
      Number(`1e${from + i * every}`),
    ).filter((value) => value >= axis.min * 0.999 && value <= axis.max * 1.001);
    if (powers.length > 1 || axis.max === axis.min) return powers.length ? powers : [axis.min];
    // Less than a decade has no two powers of ten.
    const between = [from, from + 1].flatMap((power) => [1, 2, 5].map((n) => Number(`${n}e${power}`)));
    const within = between.filter((value) => value >= axis.min && value <= axis.max);
    if (within.length > 1) return within;
  }
  if (axis.max === axis.min) return [axis.min];
  const rough = (axis.max - axis.min) / most;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * unit).find((n) => n >= rough) ?? rough;
  const ticks: number[] = [];
  for (let at = Math.ceil(axis.min / step); at * step <= axis.max; at++) ticks.push(at * step);
  return ticks;
}

/** How many runs of a group have a value, and what their values amount to. */
interface Aggregate {
  n: number;
  mean: number;
  sd: number;
  min: number;
  max: number;
}

export function aggregate(values: readonly (number | null)[]): Aggregate | null {
  const numbers = values.filter((value): value is number => value !== null && Number.isFinite(value));
  if (!numbers.length) return null;
  const mean = numbers.reduce((sum, value) => sum + value, 0) / numbers.length;
  const spread = numbers.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return {
    n: numbers.length,
    mean,
    sd: numbers.length > 1 ? Math.sqrt(spread / (numbers.length - 1)) : 0,
    min: numbers.reduce((a, b) => Math.min(a, b)),
    max: numbers.reduce((a, b) => Math.max(a, b)),
  };
}
