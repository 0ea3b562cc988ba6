/** The way of a point, step 10 of 10: on a canvas, in the line of its chart.
 *
 * The last value of each bucket makes the line, lowest to highest a band or, for many runs, strokes.
 */
import { lowerBound, type Line } from "./frame";

export interface Range {
  min: number;
  max: number;
}

/** From values to canvas pixels. */
export interface Transform {
  x: Range;
  y: Range;
  log: boolean;
  /** Whether x is logarithmic. */
  logX?: boolean;
  left: number;
  top: number;
  width: number;
  height: number;
  /** Draw only what reaches into this range of x; the whole where there is none. */
  part?: Range;
}

/** Over so many lines are drawn thin: wide ones take three times as long, and hide one another. */
export const MANY_LINES = 30;
/** Over so many runs bands would only hide one another. */
export const MOST_BANDS = 8;
const DOTS_BELOW = 60;

export function toX(t: Transform, x: number): number {
  const part = t.logX
    ? Math.log(x / t.x.min) / Math.log(t.x.max / t.x.min)
    : (x - t.x.min) / (t.x.max - t.x.min);
  return t.left + part * t.width;
}

export function toY(t: Transform, y: number): number {
  const part = t.log
    ? Math.log(y / t.y.min) / Math.log(t.y.max / t.y.min)
    : (y - t.y.min) / (t.y.max - t.y.min);
  return t.top + t.height * (1 - part);
}

function drawable(t: Transform, value: number): boolean {
  return Number.isFinite(value) && (!t.log || value > 0);
}

/** Indices of the entries in sight, with one more on each side. */
function inSight(line: Line, x: Range, logX = false): [number, number] {
  const least = logX ? lowerBound(line.x, Number.MIN_VALUE) : 0; // a log axis has no place for others
  return [
    Math.max(least, lowerBound(line.x, x.min) - 1),
    Math.min(line.x.length, lowerBound(line.x, x.max) + 2),
  ];
}

/** The line through `values`; where there is none, it breaks. Lone points are dots. */
export function tracePath(
  line: Line,
  values: Float64Array,
  t: Transform,
  strokes: boolean,
  dots: number,
): Path2D {
  const path = new Path2D();
  const [from, to] = inSight(line, t.part ?? t.x, t.logX);
  const spikes = strokes && line.low !== values;
  const [first, end] = t.part ? inSight(line, t.x, t.logX) : [from, to];
  const everyDot = end - first < DOTS_BELOW;
  let drawing = false;
  for (let i = from; i < to; i++) {
    const value = values[i]!;
    if (!drawable(t, value)) {
      drawing = false;
      continue;
    }
    const px = toX(t, line.x[i]!);
    const py = toY(t, value);
    if (spikes && line.low[i]! < line.high[i]!) {
      // Down and up, then up and down: half the corners of going back to the last value each time.
      const low = toY(t, drawable(t, line.low[i]!) ? line.low[i]! : value);
      const high = toY(t, line.high[i]!);
      const [a, b] = i % 2 ? [high, low] : [low, high];
      if (drawing) path.lineTo(px, a);
      else path.moveTo(px, a);
      path.lineTo(px, b);
    } else if (drawing) path.lineTo(px, py);
    else path.moveTo(px, py);
    const alone = !drawing && !(i + 1 < to && drawable(t, values[i + 1]!));
    if (dots && (everyDot || alone)) {
      path.rect(px - dots / 2, py - dots / 2, dots, dots);
      path.moveTo(px, py);
    }
    drawing = true;
  }
  return path;
}

/** The area between lowest and highest; null where every bucket holds one value. */
export function bandPath(line: Line, t: Transform): Path2D | null {
  if (line.low === line.last) return null;
  const path = new Path2D();
  const [from, to] = inSight(line, t.part ?? t.x, t.logX);
  let i = from;
  while (i < to) {
    while (i < to && !(drawable(t, line.low[i]!) && drawable(t, line.high[i]!))) i++;
    const start = i;
    while (i < to && drawable(t, line.low[i]!) && drawable(t, line.high[i]!)) i++;
    if (i === start) break;
    path.moveTo(toX(t, line.x[start]!), toY(t, line.high[start]!));
    for (let k = start; k < i; k++) path.lineTo(toX(t, line.x[k]!), toY(t, line.high[k]!));
    for (let k = i - 1; k >= start; k--) path.lineTo(toX(t, line.x[k]!), toY(t, line.low[k]!));
    path.closePath();
  }
  return path;
}

/** Where values are no numbers: ✕ below for NaN, ▲ above for +∞, ▼ below for −∞. */
export function drawMarks(context: CanvasRenderingContext2D, line: Line, t: Transform, size: number): void {
  if (!line.marks) return;
  const [from, to] = inSight(line, t.part ?? t.x, t.logX);
  const bottom = t.top + t.height - size;
  const path = new Path2D();
  for (let i = from; i < to; i++) {
    const marks = line.marks[i]!;
    if (!marks) continue;
    const px = toX(t, line.x[i]!);
    if (marks & 1) {
      path.moveTo(px - size / 2, bottom - size / 2);
      path.lineTo(px + size / 2, bottom + size / 2);
      path.moveTo(px - size / 2, bottom + size / 2);
      path.lineTo(px + size / 2, bottom - size / 2);
    }
    if (marks & 2) triangle(path, px, t.top + size, -size);
    if (marks & 4) triangle(path, px, bottom - size, size);
  }
  context.stroke(path);
}

function triangle(path: Path2D, x: number, y: number, size: number): void {
  path.moveTo(x - size / 2, y);
  path.lineTo(x + size / 2, y);
  path.lineTo(x, y + size);
  path.closePath();
}

export interface Extent {
  range: Range | null;
  /** Values that lie outside, and those a log axis cannot show. */
  outside: number;
  hidden: number;
}

/**
 * The range of y in sight. Without outliers: what lies between the 2nd and 98th hundredth of each line, and a margin.
 */
export function extentOf(
  lines: readonly Line[],
  x: Range,
  log: boolean,
  withoutOutliers: boolean,
  smooth: boolean,
): Extent {
  let min = Infinity;
  let max = -Infinity;
  let hidden = 0;
  let outside = 0;
  for (const line of lines) {
    const [from, to] = inSight(line, x);
    const low = smooth && line.smooth ? line.smooth : line.low;
    const high = smooth && line.smooth ? line.smooth : line.high;
    let lowest = Infinity;
    let highest = -Infinity;
    for (let i = from; i < to; i++) {
      const l = low[i]!;
      const h = high[i]!;
      if (log && l <= 0) hidden += 1;
      if (l < lowest && (!log || l > 0)) lowest = l;
      if (h > highest && (!log || h > 0)) highest = h;
      if (log && h > 0 && h < lowest) lowest = h;
    }
    if (withoutOutliers && to - from >= 20) {
      const values = line.last
        .slice(from, to)
        .filter((value) => Number.isFinite(value) && (!log || value > 0))
        .sort();
      if (values.length >= 20) {
        const a = values[Math.floor(values.length * 0.02)]!;
        const b = values[Math.ceil(values.length * 0.98) - 1]!;
        const margin = (b - a) * 0.05 || Math.abs(b) * 0.05;
        lowest = Math.max(lowest, log ? a : a - margin);
        highest = Math.min(highest, b + margin);
        for (let i = from; i < to; i++) if (line.high[i]! > highest || line.low[i]! < lowest) outside += 1;
      }
    }
    min = Math.min(min, lowest);
    max = Math.max(max, highest);
  }
  if (!(min <= max)) return { range: null, outside, hidden };
  return { range: padded(min, max, log), outside, hidden };
}

/** Some room above and below; never an empty range. */
export function padded(min: number, max: number, log: boolean): Range {
  if (log) {
    const factor = max > min ? Math.pow(max / min, 0.05) : 2;
    return { min: min / factor, max: max * factor };
  }
  const room = max > min ? (max - min) * 0.05 : Math.abs(max) * 0.1 || 1;
  return { min: min - room, max: max + room };
}
