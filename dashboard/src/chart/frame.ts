/** Charts as the server packs them (runstream_query.charts.charts.pack_charts): columns are views of the received bytes, never copied. */

/** What x is: the step, a time, or what another metric (`metric:NAME`) was by then. */
export type Axis = "step" | "time" | "relative" | `metric:${string}`;

/** The most a line can be smoothed. */
export const MOST_SMOOTHING = 0.999;

/** The metric that is x; empty: none is. */
export function metricOf(axis: Axis): string {
  return axis.startsWith("metric:") ? axis.slice(7) : "";
}

export interface Line {
  runId: string;
  /** x of the last point of each bucket: steps, or seconds. */
  x: Float64Array;
  /** Last, lowest and highest finite value of each bucket; NaN where there is none. */
  last: Float64Array;
  low: Float64Array;
  high: Float64Array;
  smooth: Float64Array | null;
  /** Bits 1 NaN, 2 +infinity, 4 −infinity occur in the bucket; null: nowhere. */
  marks: Uint8Array | null;
  /** Runs behind each entry, where the line is a mean. */
  n?: Uint32Array;
  /** Points in the range asked for, and in all. */
  points: number;
  total: number;
}

/** One metric of the runs asked for. */
export interface Frame {
  name: string;
  axis: Axis;
  /** Width of a bucket in x; 1 step: every point is there. */
  bucket: number;
  first: number;
  last: number;
  lines: Line[];
}

interface Header {
  charts: {
    name: string;
    x: Axis;
    bucket: number;
    first: number;
    last: number;
    lines: { run_id: string; n: number; points: number; total: number; columns: string[] }[];
  }[];
}

/** Microseconds to seconds; steps stay. */
export function unitOf(axis: Axis): number {
  return axis === "time" || axis === "relative" ? 1e6 : 1;
}

export function decodeFrames(bytes: ArrayBuffer): Frame[] {
  const size = new DataView(bytes).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 4, size))) as Header;
  let at = 4 + size;
  return header.charts.map((chart) => {
    const unit = unitOf(chart.x);
    const lines = chart.lines.map((line): Line => {
      const columns: Record<string, Float64Array> = {};
      let marks: Uint8Array | null = null;
      for (const name of line.columns) {
        if (name === "marks") {
          marks = new Uint8Array(bytes, at, line.n);
          at += line.n + ((8 - (line.n % 8)) % 8);
        } else {
          columns[name] = new Float64Array(bytes, at, line.n);
          at += 8 * line.n;
        }
      }
      const x = columns.x!;
      if (unit !== 1) for (let i = 0; i < x.length; i++) x[i]! /= unit;
      const last = columns.last!;
      const { low = last, high = last, smooth = null } = columns;
      return {
        runId: line.run_id,
        x,
        last,
        low,
        high,
        smooth,
        marks,
        points: line.points,
        total: line.total,
      };
    });
    const { name, x: axis, bucket, first, last } = chart;
    return { name, axis, bucket: bucket / unit, first: first / unit, last: last / unit, lines };
  });
}

/** The first index whose x is not below `x`. */
export function lowerBound(xs: Float64Array, x: number): number {
  let low = 0;
  let high = xs.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (xs[middle]! < x) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The index of the point nearest to `x`; −1 without points. */
export function nearest(xs: Float64Array, x: number): number {
  const at = lowerBound(xs, x);
  if (at === 0) return xs.length ? 0 : -1;
  if (at === xs.length) return at - 1;
  return x - xs[at - 1]! <= xs[at]! - x ? at - 1 : at;
}
