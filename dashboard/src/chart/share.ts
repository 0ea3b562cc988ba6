/** A chart to take along: as a picture of pixels or of lines, or as its numbers. Loaded when somebody asks for one. */
import { cutMiddle, formatNumber } from "../lib/format";
import { marks } from "../runs/sweep";
import { MOST_BANDS, toX, toY, type Range, type Transform } from "./draw";
import type { Axis, Line } from "./frame";
import type { Kind } from "./kinds";
import { blobOf, csvText, escaped, take, type Cell } from "./take";
import { xText } from "./texts";
import type { Trace } from "./traces";

export interface Shared {
  title: string;
  traces: readonly Trace[];
  axis: Axis;
  x: Range;
  y: Range;
  log: boolean;
  logX: boolean;
  canvas: HTMLCanvasElement;
  /** Of the page: background, text and rules. */
  colours: { panel: string; text: string; muted: string; rule: string };
}

const MOST_NAMED = 40; // runs in the legend of a picture
const FONT = "system-ui, sans-serif";

/** Copy a chart, or keep it as a file. Returns what to tell; a browser that lets nothing be copied here keeps a file. */
export async function share(chart: Shared, kind: Kind, copy: boolean): Promise<string> {
  const content = kind === "PNG" ? await pngOf(chart) : kind === "SVG" ? svgOf(chart) : csvOf(chart);
  return take(chart.title, kind, content, copy);
}

/** What is drawn: a row for each bucket of each line in sight. */
export function csvOf({ traces, axis, x }: Pick<Shared, "traces" | "axis" | "x">): string {
  const smooth = traces.some((trace) => trace.line.smooth);
  const head = ["run", "run_id", "metric", axis, "value", "low", "high", ...(smooth ? ["smoothed"] : [])];
  const rows: Cell[][] = [head];
  for (const { who, metric, line } of traces)
    for (let i = 0; i < line.x.length; i++) {
      const at = line.x[i]!;
      if (at < x.min || at > x.max) continue;
      const numbers = [at, line.last[i]!, line.low[i]!, line.high[i]!];
      if (smooth) numbers.push(line.smooth?.[i] ?? NaN);
      rows.push([who.name, who.id, metric, ...numbers]);
    }
  return csvText(rows);
}

const WIDTH = 800;
const HEIGHT = 420;
const LEFT = 64;
const TOP = 36;
const BOTTOM = 32;
const ROW = 18;

/** As lines: it can be scaled, and edited. */
export function svgOf(chart: Omit<Shared, "canvas">): string {
  const { title, traces, axis, x, y, log, logX, colours } = chart;
  const t: Transform = {
    x,
    y,
    log,
    logX,
    left: LEFT,
    top: TOP,
    width: WIDTH - LEFT - 12,
    height: HEIGHT - TOP - BOTTOM,
  };
  const named = legendOf(traces);
  const height = HEIGHT + Math.ceil(named.length / 3) * ROW + 8;
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" font-family="${FONT}" font-size="12">`,
    `<rect width="${WIDTH}" height="${height}" fill="${colours.panel}"/>`,
    `<text x="12" y="22" font-size="15" fill="${colours.text}">${escaped(title)}</text>`,
    `<clipPath id="plot"><rect x="${t.left}" y="${t.top}" width="${t.width}" height="${t.height}"/></clipPath>`,
  ];
  for (const value of ticks(y, log, 5)) {
    const at = toY(t, value).toFixed(1);
    parts.push(
      `<path d="M${t.left} ${at}h${t.width}" stroke="${colours.rule}"/>`,
      `<text x="${t.left - 6}" y="${Number(at) + 4}" text-anchor="end" fill="${colours.muted}">${formatNumber(value, 3)}</text>`,
    );
  }
  for (const value of ticks(x, logX, 7)) {
    const at = toX(t, value).toFixed(1);
    parts.push(
      `<path d="M${at} ${t.top}v${t.height}" stroke="${colours.rule}"/>`,
      `<text x="${at}" y="${t.top + t.height + 18}" text-anchor="middle" fill="${colours.muted}">${escaped(xText(axis, value))}</text>`,
    );
  }
  parts.push('<g clip-path="url(#plot)" fill="none" stroke-linejoin="round">');
  for (const { line, stroke, group } of traces) {
    if (line.low !== line.last && (group || traces.length <= MOST_BANDS))
      parts.push(`<path d="${bandOf(line, t)}" fill="${stroke.colour}" fill-opacity="0.15"/>`);
    const dash = stroke.dash.length ? ` stroke-dasharray="${stroke.dash.join(" ")}"` : "";
    parts.push(
      `<path d="${lineOf(line, line.smooth ?? line.last, t)}" stroke="${stroke.colour}" stroke-width="1.5"${dash}/>`,
    );
  }
  parts.push("</g>");
  for (const [i, { name, stroke }] of named.entries()) {
    const left = 12 + (i % 3) * ((WIDTH - 24) / 3);
    const top = HEIGHT + Math.floor(i / 3) * ROW + 8;
    if (stroke)
      parts.push(
        `<path d="M${left} ${top}h20" stroke="${stroke.colour}" stroke-width="3" stroke-dasharray="${stroke.dash.join(" ")}"/>`,
      );
    parts.push(
      `<text x="${left + 26}" y="${top + 4}" fill="${colours.text}">${escaped(cutMiddle(name, 32))}</text>`,
    );
  }
  parts.push("</svg>");
  return parts.join("\n");
}

interface Named {
  name: string;
  stroke: Trace["stroke"] | null;
}

function legendOf(traces: readonly Trace[]): Named[] {
  if (traces.length < 2) return [];
  const named: Named[] = traces.slice(0, MOST_NAMED).map(({ name, stroke }) => ({ name, stroke }));
  if (traces.length > MOST_NAMED)
    named.push({ name: `and ${traces.length - MOST_NAMED} more`, stroke: null });
  return named;
}

function ticks({ min, max }: Range, log: boolean, most: number): number[] {
  return marks({ id: "", title: "", values: [], categories: null, min, max, log }, most);
}

const drawable = (t: Transform, value: number) => Number.isFinite(value) && (!t.log || value > 0);

const hasPlace = (t: Transform, x: number) => !t.logX || x > 0;

function lineOf(line: Line, values: Float64Array, t: Transform): string {
  let path = "";
  let drawing = false;
  for (let i = 0; i < line.x.length; i++) {
    if (!drawable(t, values[i]!) || !hasPlace(t, line.x[i]!)) {
      drawing = false;
      continue;
    }
    path += `${drawing ? "L" : "M"}${toX(t, line.x[i]!).toFixed(1)} ${toY(t, values[i]!).toFixed(1)}`;
    drawing = true;
  }
  return path;
}

function bandOf(line: Line, t: Transform): string {
  const places = [...line.x.keys()].filter(
    (i) => hasPlace(t, line.x[i]!) && drawable(t, line.low[i]!) && drawable(t, line.high[i]!),
  );
  const point = (i: number, values: Float64Array) =>
    `${toX(t, line.x[i]!).toFixed(1)} ${toY(t, values[i]!).toFixed(1)}`;
  if (!places.length) return "";
  return `M${[...places.map((i) => point(i, line.high)), ...places.reverse().map((i) => point(i, line.low))].join("L")}Z`;
}

/** As it is on the screen, under its title and above its legend. */
async function pngOf({ title, traces, canvas, colours }: Shared): Promise<Blob> {
  const ratio = window.devicePixelRatio || 1;
  const named = legendOf(traces);
  const width = canvas.width / ratio;
  const columns = Math.max(1, Math.floor(width / 240));
  const picture = document.createElement("canvas");
  picture.width = canvas.width;
  picture.height = canvas.height + Math.round((28 + Math.ceil(named.length / columns) * ROW + 12) * ratio);
  const context = picture.getContext("2d")!;
  context.fillStyle = colours.panel;
  context.fillRect(0, 0, picture.width, picture.height);
  context.drawImage(canvas, 0, Math.round(28 * ratio));
  context.scale(ratio, ratio);
  context.fillStyle = colours.text;
  context.font = `14px ${FONT}`;
  context.fillText(title, 8, 19);
  context.font = `12px ${FONT}`;
  for (const [i, { name, stroke }] of named.entries()) {
    const left = 8 + (i % columns) * (width / columns);
    const top = 28 + canvas.height / ratio + Math.floor(i / columns) * ROW + 10;
    if (stroke) {
      context.strokeStyle = stroke.colour;
      context.lineWidth = 3;
      context.setLineDash(stroke.dash);
      context.beginPath();
      context.moveTo(left, top);
      context.lineTo(left + 20, top);
      context.stroke();
    }
    context.fillText(cutMiddle(name, 28), left + 26, top + 4);
  }
  return blobOf(picture);
}
