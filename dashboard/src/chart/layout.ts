/** Which charts there are: a metric each, or those merged that have the same name after their prefix. */
import { naturalOrder } from "../lib/names";

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
