/** Which charts there are: a metric each, or those merged that have the same name after their prefix. */
import type { Definitions } from "../lib/definitions.svelte";
import { naturalOrder } from "../lib/names";
import type { Axis } from "./frame";

export interface ChartOf {
  name: string;
  metrics: string[];
}

/** `train/loss` and `val/loss` as the chart `train, val: loss`; metrics that share no name stay by themselves. */
export function mergedCharts(names: readonly string[]): ChartOf[] {
  const byTail = new Map<string, string[]>();
  for (const name of names) {
    const tail = name.slice(name.indexOf("/") + 1);
    const held = byTail.get(tail);
    if (held) held.push(name);
    else byTail.set(tail, [name]);
  }
  const charts: ChartOf[] = [];
  for (const [tail, metrics] of byTail) {
    if (metrics.length === 1) charts.push({ name: metrics[0]!, metrics });
    else {
      metrics.sort(naturalOrder);
      const heads = metrics.map((name) =>
        name === tail ? "all" : name.slice(0, name.length - tail.length - 1),
      );
      charts.push({ name: `${heads.join(", ")}: ${tail}`, metrics });
    }
  }
  return charts;
}

/** What is x of all these metrics, as they are defined; the step where they differ, or where the metric is not there. */
export function definedAxis(
  metrics: readonly string[],
  definitions: Definitions,
  known: ReadonlySet<string>,
): Axis {
  const [step = null, ...others] = new Set(metrics.map((name) => definitions.step(name)));
  return step === null || others.length || !known.has(step) ? "step" : `metric:${step}`;
}

/** What is x of most of these metrics; those that are the x of others are not asked. */
export function commonAxis(metrics: readonly string[], definitions: Definitions): Axis {
  const known = new Set(metrics);
  const counts = new Map<Axis, number>();
  for (const name of metrics.filter((name) => !definitions.isStep(name))) {
    const axis = definedAxis([name], definitions, known);
    counts.set(axis, (counts.get(axis) ?? 0) + 1);
  }
  return [...counts].sort(([, a], [, b]) => b - a)[0]?.[0] ?? "step";
}
