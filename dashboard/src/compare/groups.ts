/** Runs that have the same value of a tag. */
import { naturalOrder } from "../lib/names";
import type { Run } from "../lib/types";

/** The members of each value in natural order; runs without the tag are a group of their own. */
export function groupsBy(runs: readonly Run[], key: string): [value: string, members: string[]][] {
  const found = new Map<string, string[]>();
  for (const run of runs) {
    const value = key in run.tags ? (run.tags[key] ?? "✓") : "–";
    const held = found.get(value);
    if (held) held.push(run.run_id);
    else found.set(value, [run.run_id]);
  }
  return [...found.entries()].sort(([a], [b]) => naturalOrder(a, b));
}
