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
    const found = new Map<string, Set<string>>();
    for (const run of some) {
      for (const [key, value] of Object.entries(of(run))) {
        const held = found.get(key) ?? new Set<string>();
        if (value && held.size < MOST_VALUES) held.add(value);
        found.set(key, held);
      }
    }
    return new Map(
      [...found.keys()].sort(naturalOrder).map((key) => [key, [...found.get(key)!].sort(naturalOrder)]),
    );
  };
  return {
    experiments: experiments.map((one) => one.name),
    targets: distinct(some.map((run) => run.target)),
    types: distinct(some.map((run) => run.type)),
    tags: values((run) => run.tags),
    properties: values((run) => run.properties),
    parameters: values((run) => Object.fromEntries(parametersOf(run))),
  };
}
