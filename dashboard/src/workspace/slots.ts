/**
 * Which slot of the colours (lib/colours.ts) a run has in a workspace: by its number, as far as that is free among those that are
 * there, so that a run that comes, goes or is sorted elsewhere gives no other run another colour.
 */
import type { Run } from "../lib/types";

const COLOURS = 10;
/** Colours by dashes. */
export const SLOTS = 30;

/** The slots of some runs; `before`: those they had, which they keep. */
export function slotsOf(
  runs: readonly Pick<Run, "run_id" | "number">[],
  before: ReadonlyMap<string, number>,
): Map<string, number> {
  const slots = new Map<string, number>();
  const used = new Array<number>(SLOTS).fill(0);
  const take = (id: string, slot: number) => {
    slots.set(id, slot);
    used[slot]! += 1;
  };
  for (const { run_id } of runs) {
    const held = before.get(run_id);
    if (held !== undefined) take(run_id, held);
  }
  // The oldest first: then it makes no difference when the page was opened.
  const fresh = runs
    .filter((run) => !slots.has(run.run_id))
    .sort((a, b) => (a.number ?? 0) - (b.number ?? 0) || (a.run_id < b.run_id ? -1 : 1));
  for (const run of fresh) {
    const usual = (run.number ?? 0) % COLOURS;
    const least = Math.min(...used);
    take(run.run_id, used[usual] === 0 ? usual : used.indexOf(least));
  }
  return slots;
}
