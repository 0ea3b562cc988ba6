/** What a sweep is looked at for: a statistic of a metric, as a number of each run. */
import type { Definitions } from "../lib/definitions.svelte";
import { bestPlaces, goalOfStat, type Goal } from "../lib/goal";
import { Kind, toNumber, type Run } from "../lib/types";

export const STATS = ["last", "min", "max", "mean", "first"] as const;
type ObjectiveStat = (typeof STATS)[number];

export interface Objective {
  metric: string;
  stat: ObjectiveStat;
}

/** The one that was chosen, as far as there is such a one; else the first metric, by the statistic that was defined for it. */
export function objectiveOf(
  metrics: readonly string[],
  chosen: { metric: string | null; stat: string | null },
  known: Pick<Definitions, "stat">,
): Objective {
  const metric = metrics.find((name) => name === chosen.metric) ?? metrics[0] ?? "";
  const stat = (name: string | null | undefined) => STATS.find((each) => each === name);
  return { metric, stat: stat(chosen.stat) ?? stat(known.stat(metric)) ?? "last" };
}

/** Its value of each run; null: none, or none that is finite. */
export function objectiveValues(runs: readonly Run[], { metric, stat }: Objective): (number | null)[] {
  return runs.map((run) => {
    const summary = run.summaries?.[metric];
    const value = !summary || summary.kind === Kind.text ? null : toNumber(summary[stat]);
    return value !== null && Number.isFinite(value) ? value : null;
  });
}

/** The run whose value is the best; -1: nothing says what is good, or there are not two. */
export function bestOf(values: readonly (number | null)[], goal: Goal | null, stat: string): number {
  const end = goalOfStat(goal, stat);
  return (end && bestPlaces(values, end)[0]) ?? -1;
}
