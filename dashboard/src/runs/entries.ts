/** What stands in a table of runs: the runs, and above those of a group its heading. */
import type { ChartGroup } from "../chart/traces";
import type { Row } from "./tree";

export interface Heading {
  group: ChartGroup;
  rows: readonly Row[];
  open: boolean;
}

export type Entry = Row | Heading;

export function isHeading(entry: Entry | undefined): entry is Heading {
  return entry !== undefined && "group" in entry;
}

/** The rows by their groups, without those of folded ones; what belongs to none comes last. */
export function entriesOf(
  rows: readonly Row[],
  groups: readonly ChartGroup[],
  folded: ReadonlySet<string>,
): Entry[] {
  const groupOf = new Map(groups.flatMap((group) => group.members.map((id) => [id, group.id] as const)));
  const members = new Map<string, Row[]>(groups.map((group) => [group.id, []]));
  const others: Row[] = [];
  for (const row of rows) (members.get(groupOf.get(row.run.run_id) ?? "") ?? others).push(row);
  return [
    ...groups.flatMap((group): Entry[] => {
      const own = members.get(group.id)!;
      const open = !folded.has(group.id);
      return [{ group, rows: own, open }, ...(open ? own : [])];
    }),
    ...others,
  ];
}
