import { expect, test } from "vitest";
import { goalByName, goalOfStat } from "../src/lib/goal";
import { tagChanges } from "../src/lib/tags";
import type { Run, Summary } from "../src/lib/types";
import { bestRuns, cellChanges, columnOf, formatValue } from "../src/runs/columns";
import { aggregate, marks } from "../src/runs/sweep";
import { bestChild, goalOf, treeRows } from "../src/runs/tree";

function summary(last: number): Summary {
  return {
    cls: 0,
    kind: 0,
    count: 1,
    first: last,
    last,
    min: last,
    max: last,
    mean: last,
    last_step: 1,
    last_time: 0,
    text: null,
  };
}

function run(id: string, values: Partial<Run> = {}, loss?: number): Run {
  return {
    run_id: id,
    number: 1,
    experiment: "e",
    workspace: "w",
    parent_run_id: null,
    root_run_id: null,
    name: "given",
    display_name: id,
    description: null,
    type: null,
    target: null,
    status: "Completed",
    created_utc: "",
    start_time_utc: null,
    end_time_utc: null,
    last_seen_utc: null,
    archived_utc: null,
    error: null,
    warnings: [],
    details: {},
    tags: {},
    properties: {},
    dropped: 0,
    gaps: 0,
    settled: true,
    summaries: loss === undefined ? {} : { loss: summary(loss) },
    ...values,
  };
}

const SWEEP = { properties: { primary_metric_config: '{"name": "loss", "goal": "MINIMIZE"}' } };

test("children stand below their opened parent, the best one marked", () => {
  const parent = run("p", SWEEP);
  const branches = new Map([
    ["p", { children: [run("a", {}, 2), run("b", {}, 1), run("c", {}, NaN)], more: false }],
  ]);
  const rows = treeRows(
    [parent, run("q")],
    branches,
    new Map([
      ["p", 3],
      ["q", 7],
    ]),
  );
  expect(rows.map((row) => [row.run.run_id, row.depth, row.children, row.open, row.best])).toEqual([
    ["p", 0, 3, true, false],
    ["a", 1, 0, false, false],
    ["b", 1, 0, false, true],
    ["c", 1, 0, false, false],
    ["q", 0, 7, false, false],
  ]);
});

test("a run that is its own ancestor does not hang the page", () => {
  const odd = run("o");
  expect(treeRows([odd], new Map([["o", { children: [odd], more: false }]]), new Map()).length).toBeLessThan(
    20,
  );
});

test("what a sweep is after", () => {
  expect(goalOf(run("p", SWEEP))).toEqual({ metric: "loss", maximize: false });
  expect(goalOf(run("p", { properties: { primary_metric_config: "{" } }))).toBeNull();
  expect(bestChild(run("p", { properties: { best_child_run_id: "a" } }), [run("a"), run("b")])).toBe("a");
  expect(bestChild(run("p"), [run("a", {}, 1)])).toBeNull();
});

test("stars where a good end is known", () => {
  const columns = ["loss.min", "loss.max", "loss.last", "odd.last"].map((id) => columnOf(id)!);
  expect([...bestRuns([run("a", {}, 2), run("b", {}, 1), run("c", {}, NaN)], columns)]).toEqual([
    ["loss.min", "b"],
    ["loss.last", "b"],
  ]);
});

test.each([
  ["val/loss", "min"],
  ["valAccuracy", "max"],
  ["r2_score", "max"],
  ["loss/score", "max"],
  ["width", null],
])("the name %s says %s", (name, goal) => expect(goalByName(name)).toBe(goal));

test("a statistic of a metric without a goal is looked at for its own end", () => {
  expect([
    goalOfStat(null, "min"),
    goalOfStat(null, "max"),
    goalOfStat(null, "last"),
    goalOfStat("min", "max"),
  ]).toEqual(["min", "max", null, null]);
});

test("aggregates leave out what is no number", () => {
  expect(aggregate([1, 3, null, NaN])).toEqual({ n: 2, mean: 2, sd: Math.SQRT2, min: 1, max: 3 });
  expect(aggregate([null])).toBeNull();
});

test("axes are marked at round numbers, powers of ten, categories", () => {
  const axis = { id: "", title: "", values: [], categories: null, min: 0.11, max: 0.87, log: false };
  expect(marks(axis, 5).map((value) => value.toFixed(1))).toEqual(["0.2", "0.4", "0.6", "0.8"]);
  expect(marks({ ...axis, min: 1e-4, max: 0.1, log: true }, 5)).toEqual([1e-4, 1e-3, 1e-2, 1e-1]);
  expect(marks({ ...axis, categories: ["a", "b"], min: 0, max: 1 }, 5)).toEqual([0, 1]);
});

test("an edited cell changes what was edited, and nothing when it is as it was", () => {
  const single = run("a", { tags: { lr: "1" } });
  expect(cellChanges(single, "name", " new ")).toEqual({ display_name: "new" });
  expect(cellChanges(single, "name", "a")).toBeNull();
  expect(cellChanges(single, "name", "")).toEqual({ display_name: null });
  expect(cellChanges(single, "tag:lr", "2")).toEqual({ tags: { set: { lr: "2" } } });
  expect(cellChanges(single, "tag:lr", "")).toEqual({ tags: { remove: ["lr"] } });
});

test("edited tags", () => {
  const row = (key: string, value: string, plain = false) => ({ key, value, plain });
  expect(tagChanges({ a: "1", b: null }, [row("a", "1"), row("b", "", true)])).toBeNull();
  expect(tagChanges({ a: "1", b: "2" }, [row("a", "3"), row(" c ", "")])).toEqual({
    set: { a: "3", c: "" },
    remove: ["b"],
  });
  expect(() => tagChanges({}, [row("a", "1"), row("a", "2")])).toThrow("two tags");
  expect(() => tagChanges({}, [row("", "1")])).toThrow("no name");
  expect(tagChanges({}, [row("", "")])).toBeNull();
});

test("ints stay ints, booleans are words", () => {
  expect(formatValue(25557032, 1, "last")).toBe("25,557,032");
  expect(formatValue(1, 2, "last")).toBe("true");
  expect(formatValue(0.25, 1, "mean")).toBe("0.25");
  expect(formatValue(1234, 0, "count")).toBe("1,234");
});
