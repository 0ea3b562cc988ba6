/** What the loaded runs and experiments have, for completing a search. */
import { naturalOrder } from "../lib/names";
import { parametersOf } from "../run/facts";
import type { Experiment, Run } from "../lib/types";
import type { Known } from "./query";

const MOST_RUNS = 500;
const MOST_VALUES = 50;

export function knownOf(runs: readonly Run[], experiments: readonly Experiment[]): Omit<Known, "metrics"> {
  const some = runs.slice(0, MOST_RUNS);
  const distinct = (values: (string | null)[]) =>
    [...new Set(values.filter((value) => value !== null))].sort(naturalOrder);
  const values = (of: (run: Run) => Record<string, string | null>) => {
    const values = new Map<string, Set<string>>();
    for (const run of some) {
      for (const [key, value] of Object.entries(of(run))) {
        const held = values.get(key) ?? new Set<string>();
        if (value && held.size < MOST_VALUES) held.add(value);
        values.set(key, held);
      }
    }
    return new Map(
      [...values.keys()].sort(naturalOrder).map((key) => [key, [...values.get(key)!].sort(naturalOrder)]),
    );
  };
  return {
    experiments: experiments.map((experiment) => experiment.name),
    targets: distinct(some.map((run) => run.target)),
    types: distinct(some.map((run) => run.type)),
    tags: values((run) => run.tags),
    properties: values((run) => run.properties),
    parameters: values((run) => Object.fromEntries(parametersOf(run))),
  };
}
