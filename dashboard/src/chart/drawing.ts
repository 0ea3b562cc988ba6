/** What the page has drawn as a document of its own: SVG that needs no style sheet. Loaded when somebody takes a chart along. */
import type { Kind } from "./kinds";
import { blobOf, csvText, escaped, take, type Cell } from "./take";

interface Drawing {
  title: string;
  /** Everything drawn below it is taken along: SVG, canvases, and what is marked as `data-drawn`, with its texts. */
  root: Element;
  rows: () => readonly (readonly Cell[])[];
  legend: () => readonly Named[];
}

interface Named {
  name: string;
  colour: string;
}

/** Copy a drawing, or keep it as a file. Returns what to tell. */
export async function takeDrawing(drawing: Drawing, kind: Kind, copy: boolean): Promise<string> {
  const { title, root, rows, legend } = drawing;
  if (kind === "CSV") return take(title, kind, csvText(rows()), copy);
  const svg = drawingOf(root, title, legend());
  return take(title, kind, kind === "SVG" ? svg : await pixelsOf(svg), copy);
}

const FONT = "system-ui, sans-serif";
const HEAD = 32;
const ROW = 18;
const EDGE = 8;

interface Box {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

/** Where the drawing's corner is, and what its colours are. */
interface Sheet {
  left: number;
  top: number;
  inks: Inks;
}

function drawingOf(root: Element, title: string, legend: readonly Named[]): string {
  const inks = new Inks();
  const drawn = [...root.querySelectorAll("svg, canvas, [data-drawn]")].filter(
    (node) => !node.closest("button, label, [popover]") && !node.parentElement?.closest("svg, [data-drawn]"),
  );
  const boxes = drawn.map(boxOf);
  const left = Math.min(...boxes.map((box) => box.left));
  const top = Math.min(...boxes.map((box) => box.top));
  const sheet = { left: left - EDGE, top: top - HEAD, inks };
  const panel = inks.of(resolved(root, "var(--panel)")).colour;
  const text = inks.of(resolved(root, "var(--text)")).colour;
  const width = Math.ceil(Math.max(240, ...boxes.map((box) => box.right - left)) + 2 * EDGE);
  const perRow = Math.max(1, Math.floor(width / 200));
  const below = HEAD + Math.max(0, ...boxes.map((box) => box.bottom - top)) + EDGE;
  const height = Math.ceil(below + Math.ceil(legend.length / perRow) * ROW);
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="${FONT}">`,
    `<rect width="${width}" height="${height}" fill="${panel}"/>`,
    `<text x="${EDGE}" y="21" font-size="14" fill="${text}">${escaped(title)}</text>`,
    ...drawn.map((node, i) => partOf(node, boxes[i]!, sheet)),
  ];
  for (const [i, { name, colour }] of legend.entries()) {
    const x = EDGE + (i % perRow) * ((width - 2 * EDGE) / perRow);
    const y = below + Math.floor(i / perRow) * ROW;
    parts.push(
      `<circle cx="${x + 5}" cy="${y + 4}" r="5" fill="${inks.of(resolved(root, colour)).colour}"/>`,
      `<text x="${x + 14}" y="${y + 8}" font-size="12" fill="${text}">${escaped(name)}</text>`,
    );
  }
  return `${parts.join("\n")}\n</svg>`;
}

/** Its whole size, also where only a part of it is scrolled into sight. */
function boxOf(node: Element): Box {
  const { left, top, right, bottom } = node.getBoundingClientRect();
  if (node instanceof SVGElement || node instanceof HTMLCanvasElement) return { left, top, right, bottom };
  return {
    left: left - node.scrollLeft,
    top: top - node.scrollTop,
    right: Math.max(right, left - node.scrollLeft + node.scrollWidth),
    bottom: Math.max(bottom, top - node.scrollTop + node.scrollHeight),
  };
}

function partOf(node: Element, box: Box, sheet: Sheet): string {
  const [x, y] = [box.left - sheet.left, box.top - sheet.top].map((at) => at.toFixed(1));
  const at = `x="${x}" y="${y}" width="${(box.right - box.left).toFixed(1)}" height="${(box.bottom - box.top).toFixed(1)}"`;
  if (node instanceof HTMLCanvasElement) return `<image ${at} href="${node.toDataURL()}"/>`;
  if (!(node instanceof SVGElement)) return laidOut(node, sheet);
  const own = node.getAttribute("viewBox");
  const inside = [...node.children].map((child) => marked(child, sheet.inks)).join("");
  return `<svg ${at}${own ? ` viewBox="${escaped(own)}"` : ""}>${inside}</svg>`;
}

/** Elements of a page: a rectangle where there is a background, and their texts. */
function laidOut(node: Element, sheet: Sheet): string {
  const style = getComputedStyle(node);
  if (style.display === "none" || style.visibility === "hidden" || node.matches("button, select, .sr"))
    return "";
  const parts: string[] = [];
  const { left, top, width, height } = node.getBoundingClientRect();
  const ground = sheet.inks.of(style.backgroundColor);
  if (ground.opacity > 0 && width && height)
    parts.push(
      `<rect x="${(left - sheet.left).toFixed(1)}" y="${(top - sheet.top).toFixed(1)}" width="${width.toFixed(1)}" height="${height.toFixed(1)}" fill="${ground.colour}" fill-opacity="${ground.opacity}"/>`,
    );
  for (const child of node.childNodes)
    if (child instanceof Element) parts.push(laidOut(child, sheet));
    else if (child instanceof Text && child.data.trim()) {
      const range = document.createRange();
      range.selectNodeContents(child);
      const box = range.getBoundingClientRect();
      const size = Number.parseFloat(style.fontSize);
      const baseline = (box.top + box.bottom) / 2 + size * 0.35 - sheet.top;
      const bold = Number(style.fontWeight) > 400 ? ` font-weight="${style.fontWeight}"` : "";
      parts.push(
        `<text x="${(box.left - sheet.left).toFixed(1)}" y="${baseline.toFixed(1)}" font-size="${size}"${bold} fill="${sheet.inks.of(style.color).colour}">${escaped(child.data.trim().replace(/\s+/g, " "))}</text>`,
      );
    }
  return parts.join("");
}

/** A colour with its variables filled in, as it holds below an element. */
function resolved(root: Element, colour: string): string {
  const probe = document.createElement("i");
  probe.style.color = colour;
  root.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

/** Properties that a style sheet gives, as attributes. */
const KEPT = [
  "fill",
  "fill-opacity",
  "stroke",
  "stroke-width",
  "stroke-dasharray",
  "stroke-linecap",
  "stroke-linejoin",
  "opacity",
  "font-size",
  "font-weight",
  "text-anchor",
  "paint-order",
] as const;
/** What they are without anybody saying so: left out. */
const USUAL: Partial<Record<string, string>> = {
  "fill-opacity": "1",
  "stroke-width": "1px",
  "stroke-dasharray": "none",
  "stroke-linecap": "butt",
  "stroke-linejoin": "miter",
  "paint-order": "normal",
  stroke: "none",
  opacity: "1",
  "font-weight": "400",
  "text-anchor": "start",
};
const SHAPES = new Set(["g", "path", "line", "circle", "rect", "text", "tspan", "polyline", "polygon"]);
const PLACE = /^(d|x|y|x1|x2|y1|y2|cx|cy|r|rx|ry|width|height|points|transform|dx|dy)$/;

/** A shape and all below it, with its looks as attributes; what is not seen, or is no shape, is left out. */
function marked(node: Element, inks: Inks): string {
  const name = node.localName;
  const style = getComputedStyle(node);
  if (!SHAPES.has(name) || style.display === "none" || style.visibility === "hidden") return "";
  const letters = name === "text" || name === "tspan";
  const attributes = [...node.attributes]
    .filter((attribute) => PLACE.test(attribute.name))
    .map((attribute) => `${attribute.name}="${escaped(attribute.value)}"`);
  for (const property of name === "g" ? (["opacity"] as const) : KEPT) {
    const value = style.getPropertyValue(property);
    const idle = /^(font|text)/.test(property) && !letters;
    if (!value || value === USUAL[property] || idle) continue;
    if ((property === "fill" || property === "stroke") && value !== "none") {
      const ink = inks.of(value);
      attributes.push(`${property}="${ink.colour}"`);
      if (ink.opacity < 1) attributes.push(`${property}-opacity="${ink.opacity}"`);
    } else attributes.push(`${property}="${escaped(value)}"`);
  }
  const inside = [...node.childNodes].map((child) => {
    if (child instanceof Element) return marked(child, inks);
    return child instanceof Text && letters ? escaped(child.data) : "";
  });
  return `<${[name, ...attributes].join(" ")}>${inside.join("")}</${name}>`;
}

/** Colours as every program reads them: a style sheet may have mixed them in a space that few know. */
class Inks {
  readonly #known = new Map<string, { colour: string; opacity: number }>();
  readonly #context: CanvasRenderingContext2D;

  constructor() {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 1;
    this.#context = canvas.getContext("2d", { willReadFrequently: true })!;
  }

  of(colour: string): { colour: string; opacity: number } {
    const known = this.#known.get(colour);
    if (known) return known;
    this.#context.clearRect(0, 0, 1, 1);
    this.#context.fillStyle = colour;
    this.#context.fillRect(0, 0, 1, 1);
    const [red, green, blue, alpha] = this.#context.getImageData(0, 0, 1, 1).data;
    const two = (part: number | undefined) => (part ?? 0).toString(16).padStart(2, "0");
    const ink = {
      colour: `#${two(red)}${two(green)}${two(blue)}`,
      opacity: Math.round(((alpha ?? 255) / 255) * 100) / 100,
    };
    this.#known.set(colour, ink);
    return ink;
  }
}

const SHARPNESS = 2; // pixels of the picture for one of the page

/** A picture of an SVG document. */
async function pixelsOf(svg: string): Promise<Blob> {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
  await image.decode();
  const picture = document.createElement("canvas");
  picture.width = image.width * SHARPNESS;
  picture.height = image.height * SHARPNESS;
  picture.getContext("2d")!.drawImage(image, 0, 0, picture.width, picture.height);
  return blobOf(picture);
}
