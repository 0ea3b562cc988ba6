/** Runs that have the same value of something. */
import { naturalOrder } from "../lib/names";
import type { Run } from "../lib/types";

/** The members of each value in natural order. */
export function groupsOf(
  runs: readonly Run[],
  valueOf: (run: Run) => string,
): [value: string, members: string[]][] {
  const groups = new Map<string, string[]>();
  for (const run of runs) {
    const value = valueOf(run);
    const members = groups.get(value);
    if (members) members.push(run.run_id);
    else groups.set(value, [run.run_id]);
  }
  return [...groups.entries()].sort(([a], [b]) => naturalOrder(a, b));
}

/** By a tag; runs without it are a group of their own. */
export function groupsBy(runs: readonly Run[], key: string): [value: string, members: string[]][] {
  return groupsOf(runs, (run) => (key in run.tags ? (run.tags[key] ?? "✓") : "–"));
}
