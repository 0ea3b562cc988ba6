/** To take a chart along: copied, or kept as a file. */
import { keepFile } from "../runs/export";
import type { Kind } from "./kinds";

const TYPES: Record<Kind, string> = { PNG: "image/png", SVG: "image/svg+xml", CSV: "text/csv" };

/** Copy it, or have the browser keep a file. Returns what to tell; a browser that lets nothing be copied here keeps a file. */
export async function take(
  title: string,
  kind: Kind,
  content: string | Blob,
  copy: boolean,
): Promise<string> {
  if (copy && "clipboard" in navigator) {
    try {
      if (typeof content === "string") await navigator.clipboard.writeText(content);
      else await navigator.clipboard.write([new ClipboardItem({ [TYPES.PNG]: content })]);
      return `Copied ${title} as ${kind}.`;
    } catch {
      // not allowed, or not this type: a file then
    }
  }
  const name = title.replace(/[^\w.-]+/g, "-").replace(/^-+|-+$/g, "") || "chart";
  keepFile(content, TYPES[kind], `${name}.${kind.toLowerCase()}`);
  return `Saved ${name}.${kind.toLowerCase()}.`;
}

/** A text within SVG or HTML. */
export const escaped = (text: string) =>
  text.replace(/[&<>"]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[sign]!);

export type Cell = string | number | null | undefined;

/** Rows as CSV, the first the names of the columns. */
export function csvText(rows: readonly (readonly Cell[])[]): string {
  const quote = (cell: Cell) => {
    const text = cell === null || cell === undefined ? "" : String(cell);
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return rows.map((row) => `${row.map(quote).join(",")}\r\n`).join("");
}

/** The pixels of a canvas as PNG. */
export function blobOf(canvas: HTMLCanvasElement): Promise<Blob> {
  return new Promise((resolve, reject) =>
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("no picture"))), TYPES.PNG),
  );
}
