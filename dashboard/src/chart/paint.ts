/** Paints a chart's lines; the picture is kept, so that hovering only dims it and panning moves it and draws what comes in. */
import uPlot from "uplot";
import { bandPath, drawMarks, MANY_LINES, MOST_BANDS, tracePath, type Range, type Transform } from "./draw";
import type { Trace } from "./traces";

interface Picture {
  traces: readonly Trace[];
  /** Those and the hidden ones, in their order. */
  all: readonly Trace[];
  x: Range;
  y: Range;
  log: boolean;
  logX: boolean;
  dark: boolean;
  /** The run or group that stands out. */
  focused: string | null;
}

// Layers of many lines, and the least lines of one: a line that is shown or hidden has only its own layer drawn again.
const LAYERS = 10;
const CHUNK = 10;
const SEAM = 12; // pixels beside what comes in that lines and marks of there reach

/** How many whole pixels to the left a picture of `from` has to go to show `to`; null: it has another scale, or nothing stays. */
export function shiftOf(from: Range, to: Range, width: number): number | null {
  const span = from.max - from.min;
  if (Math.abs(to.max - to.min - span) > 1e-9 * span) return null;
  const shift = Math.round(((to.min - from.min) / span) * width);
  return Math.abs(shift) < width ? shift : null;
}

/** A part of the lines, drawn by themselves. */
interface Chunk {
  canvas: HTMLCanvasElement;
  drawn: unknown[];
}

export class Painter {
  #layer = document.createElement("canvas");
  #key: unknown[] = [];
  #x: Range = { min: 0, max: 0 };
  #chunks: Chunk[] = [];
  #chunksKey: unknown[] = [];

  paint(u: uPlot, picture: Picture): void {
    const { left, top, width: w, height: h } = u.bbox;
    const { traces, x, y, log, logX } = picture;
    const t: Transform = { x, y, log, logX, left: 0, top: 0, width: w, height: h };
    const key = [traces, y.min, y.max, log, logX, w, h, picture.dark];
    const same = key.every((part, i) => part === this.#key[i]);
    // On a log axis what is moved is stretched.
    const moves = !logX || (x.min === this.#x.min && x.max === this.#x.max);
    const shift = same && moves ? shiftOf(this.#x, x, w) : null;
    if (shift !== null) this.#shift(shift, t, traces);
    else {
      this.#key = key;
      this.#x = x;
      this.#layer.width = w;
      this.#layer.height = h;
      const context = this.#layer.getContext("2d")!;
      if (picture.all.length > MANY_LINES) this.#paintChunks(context, picture, t);
      else {
        this.#chunks = [];
        for (const trace of traces) drawTrace(context, trace, t, traces.length, false);
      }
    }
    const context = u.ctx;
    const chosen = traces.length > 1 ? traces.filter((trace) => trace.who.id === picture.focused) : [];
    context.save();
    context.globalAlpha = chosen.length ? 0.25 : 1;
    context.drawImage(this.#layer, left, top);
    context.globalAlpha = 1;
    if (chosen.length) {
      context.beginPath();
      context.rect(left, top, w, h);
      context.clip();
      context.translate(left, top);
      for (const trace of chosen) drawTrace(context, trace, t, traces.length, true);
    }
    context.restore();
  }

  /** Draw the layers of which something changed, and lay all of them over one another. */
  #paintChunks(context: CanvasRenderingContext2D, { traces, all, dark }: Picture, t: Transform): void {
    const count = traces.length;
    const size = Math.max(CHUNK, Math.ceil(all.length / LAYERS));
    const look = [
      size,
      t.x.min,
      t.x.max,
      t.y.min,
      t.y.max,
      t.log,
      t.logX,
      t.width,
      t.height,
      dark,
      lookOf(count),
    ];
    if (!equal(look, this.#chunksKey)) this.#chunks = [];
    this.#chunksKey = look;
    for (let at = 0, number = 0; at < all.length; at += size, number += 1) {
      const shown = all.slice(at, at + size).filter((trace) => !trace.who.hidden);
      const drawn = shown.flatMap((trace) => [trace.line, trace.stroke]);
      const held = this.#chunks[number];
      if (!held || !equal(drawn, held.drawn)) {
        const canvas = held?.canvas ?? document.createElement("canvas");
        canvas.width = t.width;
        canvas.height = t.height;
        const own = canvas.getContext("2d")!;
        for (const trace of shown) drawTrace(own, trace, t, count, false);
        this.#chunks[number] = { canvas, drawn };
      }
      if (shown.length) context.drawImage(this.#chunks[number]!.canvas, 0, 0);
    }
  }

  /** Move the picture by whole pixels, and draw what comes in beside it. */
  #shift(shift: number, t: Transform, traces: readonly Trace[]): void {
    if (!shift) return;
    const per = (this.#x.max - this.#x.min) / t.width;
    const x = { min: this.#x.min + shift * per, max: this.#x.max + shift * per };
    this.#x = x;
    const context = this.#layer.getContext("2d")!;
    context.globalCompositeOperation = "copy";
    context.drawImage(this.#layer, -shift, 0);
    context.globalCompositeOperation = "source-over";
    const [from, to] = shift > 0 ? [t.width - shift, t.width] : [0, -shift];
    context.save();
    context.beginPath();
    context.rect(from, 0, to - from, t.height);
    context.clip();
    const part = { min: x.min + (from - SEAM) * per, max: x.min + (to + SEAM) * per };
    for (const trace of traces) drawTrace(context, trace, { ...t, x, part }, traces.length, false);
    context.restore();
  }
}

function equal(a: readonly unknown[], b: readonly unknown[]): boolean {
  return a.length === b.length && a.every((part, i) => part === b[i]);
}

/** How lines are drawn when there are so many. */
function lookOf(count: number): number {
  return count <= MOST_BANDS ? 0 : count <= MANY_LINES ? 1 : 2;
}

function drawTrace(
  context: CanvasRenderingContext2D,
  trace: Trace,
  t: Transform,
  count: number,
  thick: boolean,
): void {
  const { line, stroke } = trace;
  const ratio = uPlot.pxRatio;
  const bands = count <= MOST_BANDS;
  const many = count > MANY_LINES;
  context.strokeStyle = context.fillStyle = stroke.colour;
  context.lineJoin = many ? "bevel" : "round";
  const band = bands || trace.group ? bandPath(line, t) : null;
  if (band) {
    context.globalAlpha = 0.15;
    context.fill(band);
    // A band one pixel wide would hardly be seen: its edge shows a spike of a single step.
    context.lineWidth = ratio;
    context.globalAlpha = 0.3;
    if (!trace.group) context.stroke(band);
  }
  context.lineWidth = (thick ? 2.5 : many ? 1 : 1.5) * ratio;
  context.setLineDash(many ? [] : stroke.dash.map((length) => length * ratio));
  if (line.smooth && bands && !trace.group) {
    context.globalAlpha = 0.25;
    context.stroke(tracePath(line, line.last, t, false, 0));
  }
  context.globalAlpha = 1;
  if (line.smooth) context.stroke(tracePath(line, line.smooth, t, false, 0));
  else context.stroke(tracePath(line, line.last, t, !bands && !trace.group, many ? 0 : 3 * ratio));
  context.setLineDash([]);
  drawMarks(context, line, t, 6 * ratio);
}
