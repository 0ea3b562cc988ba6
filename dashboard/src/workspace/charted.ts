/** Of which runs of a list the charts are. */
import type { RunList } from "../runs/list.svelte";
import type { Run } from "../lib/types";

/** So many runs are shown all at once; of more, the first of the order. */
export const MOST_AT_ONCE = 500;
export const FIRST = 100;
export const CHOICES: readonly number[] = [20, 50, 100, 200, 500];

/** How many of more than MOST_AT_ONCE runs; `asked`: what the address says, 0 where it says nothing. */
export function firstOf(asked: number): number {
  return CHOICES.includes(asked) ? asked : FIRST;
}

export function chartedRuns(list: Pick<RunList, "rows" | "total" | "more">, asked: number): Run[] {
  const all = !list.more || list.total <= MOST_AT_ONCE;
  const most = all && list.rows.length <= MOST_AT_ONCE ? list.rows.length : firstOf(asked);
  return list.rows.slice(0, most).map((row) => row.run);
}
