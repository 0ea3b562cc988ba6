/** Which charts a workspace shows first, as long as nobody has said how: they are asked for before the page is laid out. */
import { fit } from "../chart/fit";
import { keptOf } from "../chart/kept.svelte";
import { inGivenOrder, MEASURES, sizeOf } from "../chart/sections.svelte";
import { definitions } from "../lib/definitions.svelte";
import { sections } from "../lib/names";
import { tellingSections } from "../lib/rank";
import { param } from "../lib/route.svelte";
import type { MetricName } from "../lib/types";

const FIRST = 1;
const PART = 24; // cards of a section at first, as ChartGrid.svelte has them
/** What of the address makes other charts, or other points of them. */
const DECIDING = ["m", "pin", "own", "merge", "by", "x", "from", "to", "smooth", "logx", "open", "full"];

const GAP = 8; // pixels between two charts, as ChartGrid.svelte has them
const EDGES = 18; // pixels of a card beside its plot

interface First {
  /** In the order of their charts. */
  names: string[];
  /** Pixels each plot is wide. */
  width: number;
}

/** The first charts in a pane of this width; null where that is not certain. */
export function firstCharts(metrics: readonly MetricName[], pane: number): First | null {
  if (!pane || definitions().steps || DECIDING.some((name) => param(name) !== null)) return null;
  const names = metrics.filter((metric) => !metric.text && metric.points > 1).map((metric) => metric.name);
  const [section] = inGivenOrder(tellingSections(sections(names)));
  if (!section) return null;
  const first = section.metrics.slice(0, FIRST);
  const place = fit(
    Math.min(section.size, PART),
    pane,
    MEASURES[sizeOf(section.name)].least,
    Number(param("grid")) || 0,
  );
  const width = ((pane + GAP) * place.span(0)) / place.tracks - GAP - EDGES;
  return first.some((name) => keptOf(name)) ? null : { names: first, width };
}
