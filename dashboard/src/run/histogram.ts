/** Pictures of histograms over steps: ridgelines, and a heat map. */
import type { HistogramRecord } from "../lib/types";

export type View = "ridges" | "heat";

interface Colours {
  line: string;
  fill: string;
  text: string;
}

/** Least and greatest edge of some histograms; null: none has a bin. */
export function span(histograms: readonly HistogramRecord[]): [number, number] | null {
  let low = Infinity;
  let high = -Infinity;
  for (const { edges } of histograms) {
    if (!edges.length) continue;
    low = Math.min(low, edges[0]!);
    high = Math.max(high, edges.at(-1)!);
  }
  return low < high ? [low, high] : null;
}

/** Values a unit of width in each bin: bins of different widths stand beside each other. */
function densities(histogram: HistogramRecord): number[] {
  return histogram.counts.map((count, i) => {
    const width = histogram.edges[i + 1]! - histogram.edges[i]!;
    return width > 0 ? count / width / Math.max(histogram.count, 1) : 0;
  });
}

/** Draw histograms, the first at the top; `chosen` is the place of the one that stands out. */
export function draw(
  context: CanvasRenderingContext2D,
  width: number,
  height: number,
  histograms: readonly HistogramRecord[],
  view: View,
  chosen: number,
  colours: Colours,
): void {
  context.clearRect(0, 0, width, height);
  const range = span(histograms);
  if (!range) return;
  const x = (value: number) => ((value - range[0]) / (range[1] - range[0])) * width;
  const row = height / histograms.length;
  const heights = histograms.map(densities);
  const most = Math.max(...heights.flat(), Number.MIN_VALUE);
  context.lineWidth = 1;
  histograms.forEach((histogram, place) => {
    const top = place * row;
    if (view === "heat") {
      context.fillStyle = colours.fill;
      heights[place]!.forEach((density, i) => {
        context.globalAlpha = Math.sqrt(density / most);
        const left = x(histogram.edges[i]!);
        context.fillRect(left, top, Math.max(x(histogram.edges[i + 1]!) - left, 0.5), Math.max(row, 1));
      });
      context.globalAlpha = 1;
    } else if (histogram.counts.length) {
      const base = top + row;
      const tall = Math.min(row * 3, base);
      context.beginPath();
      context.moveTo(x(histogram.edges[0]!), base);
      heights[place]!.forEach((density, i) => {
        const y = base - (density / most) * tall;
        context.lineTo(x(histogram.edges[i]!), y);
        context.lineTo(x(histogram.edges[i + 1]!), y);
      });
      context.lineTo(x(histogram.edges.at(-1)!), base);
      context.globalAlpha = place === chosen ? 0.7 : 0.25;
      context.fillStyle = colours.fill;
      context.fill();
      context.globalAlpha = 1;
      context.strokeStyle = place === chosen ? colours.text : colours.line;
      context.stroke();
    }
    if (view === "heat" && place === chosen) {
      context.strokeStyle = colours.text;
      context.strokeRect(0.5, top, width - 1, Math.max(row, 2));
    }
  });
}
