/** The rows of a table whose runs stand in groups. */
import { expect, test } from "vitest";
import { entriesOf, isHeading } from "../src/runs/entries";
import type { ChartGroup } from "../src/chart/traces";
import type { Row } from "../src/runs/tree";

const row = (id: string) => ({ run: { run_id: id } }) as unknown as Row;
const group = (id: string, ...members: string[]) =>
  ({ id, name: id, members, hidden: false }) as unknown as ChartGroup;

test("runs stand below their group in the order of the list, folded ones not; those of none come last", () => {
  const rows = ["a", "x", "b", "c"].map(row);
  const groups = [group("odd", "c", "a"), group("even", "b"), group("none")];
  const shown = (folded: string[]) =>
    entriesOf(rows, groups, new Set(folded)).map((entry) =>
      isHeading(entry) ? `${entry.open ? "-" : "+"}${entry.group.id} ${entry.rows.length}` : entry.run.run_id,
    );
  expect(shown([])).toEqual(["-odd 2", "a", "c", "-even 1", "b", "-none 0", "x"]);
  expect(shown(["odd", "gone"])).toEqual(["+odd 2", "-even 1", "b", "-none 0", "x"]);
});
