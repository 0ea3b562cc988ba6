/** Runs as points over their parameters: what slices and contours are made of. */
import { statusLook } from "../lib/status";
import type { Run } from "../lib/types";
import { place, sweepAxes, type SweepAxis } from "./sweep";

/** The parameters in which runs differ, as axes; where none was logged, the tags. `log`: those drawn by their exponents. */
export function parameterAxes(runs: readonly Run[], log: ReadonlySet<string>): SweepAxis[] {
  const params = sweepAxes(
    runs.map((run) => ({ ...run, tags: {} })),
    [],
  );
  const axes = params.length ? params : sweepAxes(runs, []);
  return axes.map((axis) =>
    axis.categories || axis.min <= 0 || !log.has(axis.title) ? axis : { ...axis, log: true },
  );
}

/**
 * An axis of numbers on which a few that lie far off do not press all others together: it ends three times the middle half's width
 * beyond that half. Null: there is no number.
 */
export function robustAxis(id: string, title: string, values: readonly (number | null)[]): RobustAxis | null {
  const numbers = values.filter((value) => value !== null).sort((a, b) => a - b);
  if (!numbers.length) return null;
  const [least, most] = [numbers[0]!, numbers.at(-1)!];
  const at = (part: number) => numbers[Math.round(part * (numbers.length - 1))]!;
  const log = least > 0 && at(0.95) / at(0.05) > 100;
  const on = log ? Math.log : (value: number) => value;
  const back = log ? Math.exp : (value: number) => value;
  const [lower, upper] = [on(at(0.25)), on(at(0.75))];
  const room = 3 * (upper - lower);
  const [low, high] = room > 0 ? [back(lower - room), back(upper + room)] : [least, most];
  const within = numbers.filter((value) => value >= low && value <= high);
  return {
    id,
    title,
    values: [...values],
    categories: null,
    min: within[0]!,
    max: within.at(-1)!,
    log,
    beyond: numbers.length - within.length,
  };
}

export interface RobustAxis extends SweepAxis {
  /** How many values lie beyond its ends. */
  beyond: number;
}

/** The place of a value, 0 to 1; what lies beyond an end is at it. */
export const placeWithin = (axis: SweepAxis, value: number) => Math.max(0, Math.min(1, place(axis, value)));

export const INKS = ["order", "status"] as const;
type Ink = (typeof INKS)[number];

type Shape = "dot" | "ring" | "cross" | "bar";

/** Points that look alike, and what that means. */
export interface Look {
  name: string;
  colour: string;
  shape: Shape;
}

const SHADES = 6; // of the order: more could not be told apart

const BY_TONE: Record<string, Omit<Look, "name">> = {
  ok: { colour: "var(--ok)", shape: "dot" },
  live: { colour: "var(--accent)", shape: "ring" },
  bad: { colour: "var(--bad)", shape: "cross" },
  warn: { colour: "var(--warn)", shape: "bar" },
  idle: { colour: "var(--control)", shape: "ring" },
};

/** How each run's point looks: by its status, in shape and colour, or the later it came the stronger. */
export function looksOf(runs: readonly Run[], ink: Ink): Look[] {
  if (ink === "status") {
    const looks = new Map<string, Look>();
    return runs.map(({ status }) => {
      const { word, tone } = statusLook(status);
      let look = looks.get(word);
      if (!look) looks.set(word, (look = { name: word, ...BY_TONE[tone]! }));
      return look;
    });
  }
  const shades = Array.from({ length: SHADES }, (_, i): Look => {
    const part = Math.round((i / (SHADES - 1)) * 100);
    const colour = `color-mix(in oklab, var(--accent) ${part}%, var(--control))`;
    return { name: i === 0 ? "first" : i === SHADES - 1 ? "last" : "", colour, shape: "dot" };
  });
  const came = (run: Run) => run.start_time_utc ?? run.created_utc ?? "";
  const order = [...runs.keys()].sort((a, b) => (came(runs[a]!) < came(runs[b]!) ? -1 : 1));
  const looks: Look[] = [];
  for (const [at, i] of order.entries())
    looks[i] = shades[Math.round((at / Math.max(1, runs.length - 1)) * (SHADES - 1))]!;
  return looks;
}

/** What the looks in sight mean, each once, in order. */
export function legendOf(looks: readonly Look[]): Look[] {
  const named = [...new Set(looks)].filter((look) => look.name);
  return named.sort((a, b) =>
    a.name === "first" ? -1 : b.name === "first" ? 1 : a.name.localeCompare(b.name),
  );
}

/** The path of a point. */
export function markOf(shape: Shape, x: number, y: number): string {
  const at = `M${x.toFixed(1)} ${y.toFixed(1)}`;
  if (shape === "cross") return `${at}m-3.5 -3.5l7 7m0 -7l-7 7`;
  if (shape === "bar") return `${at}m-4 0h8`;
  if (shape === "ring") return `${at}m-3 0a3 3 0 1 0 6 0a3 3 0 1 0 -6 0`;
  return `${at}h0`;
}

/** How thick its stroke is: a dot is all stroke. */
export const strokeWidth = (shape: Shape) => (shape === "dot" ? 7 : 2);

/** A run at its place. */
export interface Spot {
  /** Which run. */
  i: number;
  /** Pixels. */
  x: number;
  y: number;
}

/** Few elements, however many runs: a path for all points of a look. */
export function pathsOf(spots: readonly Spot[], looks: readonly Look[]): [Look, string][] {
  const paths = new Map<Look, string>();
  for (const { i, x, y } of spots) {
    const look = looks[i]!;
    paths.set(look, (paths.get(look) ?? "") + markOf(look.shape, x, y));
  }
  return [...paths];
}

const REACH = 24; // pixels from which a point is pointed at

/** The spot the pointer is at; null: none is near. */
export function spotAt(spots: readonly Spot[], x: number, y: number): Spot | null {
  let nearest: Spot | null = null;
  let least = REACH ** 2;
  for (const spot of spots) {
    const far = (spot.x - x) ** 2 + (spot.y - y) ** 2;
    if (far <= least) [nearest, least] = [spot, far];
  }
  return nearest;
}

/** The spot some places on from one, in the given order; from none: the first, or the last. */
export function spotAfter(spots: readonly Spot[], from: Spot | null, by: number): Spot | null {
  const at = from ? spots.findIndex((spot) => spot.i === from.i) : by > 0 ? -1 : spots.length;
  return spots[Math.max(0, Math.min(spots.length - 1, at + by))] ?? null;
}
