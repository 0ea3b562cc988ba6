/**
 * The columns of a list for which nobody chose any: those that tell its runs apart. The metric a sweep is after, then validation before
 * training, then parameters and tags that differ; nothing that is the same in all runs.
 */
import { definitions } from "../lib/definitions.svelte";
import { naturalOrder } from "../lib/names";
import { has, rankOf } from "../lib/rank";
import { Kind, toNumber, type Run } from "../lib/types";
import { parametersOf } from "../run/facts";
import type { Goal } from "./tree";

/** Parameters that differ in every run and mean nothing. */
const INCIDENTAL = new Set("seed random state id name path dir directory output file log".split(" "));
const MOST_RUNS = 500;

/** Whether at least two of some values differ; of a single one nothing can be told, and it stays. */
function differs(values: readonly unknown[]): boolean {
  return values.length < 2 || values.some((value) => !Object.is(value, values[0]));
}

/** The columns of the metrics: ids as `columns.ts` has them. */
export function tellingMetrics(
  runs: readonly Run[],
  names: readonly string[],
  goal: Goal | null,
  most: number,
): string[] {
  const some = runs.slice(0, MOST_RUNS);
  const lasts = (name: string) =>
    some.flatMap((run) => {
      const summary = run.summaries?.[name];
      if (!summary) return [];
      return [summary.kind === Kind.text ? summary.text : toNumber(summary.last)];
    });
  // What somebody says of a metric counts; what a sweep is after, before that.
  const statOf = (name: string) =>
    name === goal?.metric ? (goal.maximize ? "max" : "min") : definitions().stat(name);
  return [...names]
    .map((name) => ({ name, rank: rankOf(name, goal?.metric), stat: statOf(name) }))
    .filter(({ name, stat }) => stat !== null && differs(lasts(name)))
    .sort((a, b) => a.rank - b.rank || naturalOrder(a.name, b.name))
    .slice(0, most)
    .map(({ name, stat }) => `${name}.${stat ?? "last"}`);
}

/** The columns of parameters, and of tags that say what no parameter does, that differ between runs. */
export function tellingLabels(runs: readonly Run[], most: number): string[] {
  const some = runs.slice(0, MOST_RUNS);
  if (some.length < 2) return [];
  const varying = (facts: readonly ReadonlyMap<string, string | null>[]) => {
    const keys = new Set(facts.flatMap((held) => [...held.keys()]));
    return [...keys].filter((key) => differs(facts.map((held) => held.get(key))));
  };
  const parameters = varying(some.map((run) => new Map(parametersOf(run))));
  const known = new Set(parameters);
  const tags = varying(some.map((run) => new Map(Object.entries(run.tags)))).filter((key) => !known.has(key));
  const late = (id: string) => Number(has(id.slice(id.indexOf(":") + 1), INCIDENTAL));
  const place = (id: string) => late(id) * 2 + Number(id.startsWith("tag:"));
  return [...parameters.map((key) => `param:${key}`), ...tags.map((key) => `tag:${key}`)]
    .sort((a, b) => place(a) - place(b) || naturalOrder(a, b))
    .slice(0, most);
}
