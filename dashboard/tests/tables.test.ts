import { describe, expect, test } from "vitest";
import { bestOf, delta, differences, differencesCsv } from "../src/compare/difference";
import { strokeOf } from "../src/lib/colours";
import type { Run, Summary } from "../src/lib/types";
import { artifactPath } from "../src/run/artifact";
import { lineOf } from "../src/run/pairs";
import { rates } from "../src/run/rates";
import { fileTree } from "../src/run/tree";
import { cellText, columnOf, readColumns, writeColumns } from "../src/runs/columns";
import { runsAddress } from "../src/runs/export";
import { passing, place, sweepAxes } from "../src/runs/sweep";

function summary(last: number, count = 2): Summary {
  return {
    cls: 0,
    kind: 0,
    count,
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

function run(id: string, tags: Record<string, string>, metrics: Record<string, number>): Run {
  return {
    run_id: id,
    number: 1,
    experiment: "e",
    workspace: "w",
    parent_run_id: null,
    root_run_id: null,
    name: null,
    display_name: `run "${id}"`,
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
    tags,
    properties: {},
    dropped: 0,
    gaps: 0,
    settled: true,
    summaries: Object.fromEntries(Object.entries(metrics).map(([name, value]) => [name, summary(value)])),
  };
}

const RUNS = [
  run("a", { lr: "0.001", opt: "adam" }, { "val/loss": 0.5 }),
  run("b", { lr: "0.1", opt: "sgd" }, { "val/loss": 0.25 }),
  run("c", { lr: "0.9", opt: "sgd" }, {}),
];

describe("the line of a table", () => {
  const columns = [
    ["row", "int64"],
    ["time", "timestamp[us, tz=UTC]"],
    ["who", "string"],
    ["a", "int64"],
    ["b", "double"],
    ["c", "double"],
  ].map(([name, type]) => ({ name: name!, type: type! }));
  test("is its second column of numbers over its first", () => {
    const rows = [
      [0, "", "x", 1, 0.5, 9],
      [1, "", "y", 2, null, 9],
    ];
    expect(lineOf({ columns, rows })).toEqual({
      x: "a",
      y: "b",
      points: [
        { x: 1, y: 0.5 },
        { x: 2, y: NaN },
      ],
    });
  });
  test("takes two columns of numbers and two rows", () => {
    expect(lineOf({ columns, rows: [[0, "", "x", 1, 0.5, 9]] })).toBeNull();
    expect(
      lineOf({
        columns: columns.slice(0, 4),
        rows: [
          [0, "", "x", 1],
          [1, "", "y", 2],
        ],
      }),
    ).toBeNull();
  });
});

describe("columns", () => {
  test("names with commas and dots survive the address", () => {
    const ids = ["status", "a,b.c.min", "100%.last", "tag:x"];
    expect(readColumns(writeColumns(ids)).map((row) => row.id)).toEqual(ids);
    expect(columnOf("a.b.min")!.metric).toBe("a.b");
    expect(columnOf("nonsense")).toBeNull();
  });

  test("a metric a run does not have is a dash, a value that is missing empty in CSV", () => {
    const column = columnOf("val/loss.min")!;
    expect(RUNS.map((run) => cellText(run, column, 0))).toEqual(["0.5", "0.25", "–"]);
    expect(differencesCsv(differences(RUNS), ["a", 'run "b"', "c"]).split("\r\n").slice(0, 2)).toEqual([
      'kind,name,a,"run ""b""",c',
      "run,description,,,",
    ]);
  });
});

test("a file has the table's columns as the server calls them", () => {
  const columns = ["status", "started", "id", "a,b.min", "tag:x"].map((id) => columnOf(id)!);
  const address = new URL(
    runsAddress("parquet", { q: "a b", parent: null, summary: ["a,b"] }, columns),
    "http://x",
  );
  expect(address.searchParams.getAll("column")).toEqual([
    "run_id",
    "display_name",
    "status",
    "start_time",
    "metric:a,b:min",
    "tag:x",
  ]);
  expect([
    address.searchParams.get("q"),
    address.searchParams.get("format"),
    address.searchParams.has("summary"),
  ]).toEqual(["a b", "parquet", false]);
});

describe("differences", () => {
  const rows = differences(RUNS);
  test("what is the same is told from what differs", () => {
    expect(rows.find((row) => row.name === "experiment")!.differs).toBe(false);
    expect(rows.find((row) => row.name === "lr")!.differs).toBe(true);
  });
  test("a parameter is a row each", () => {
    const given = (lr: string) => ({
      ...run("x", {}, {}),
      params: { lr: { kind: "float", text: lr }, fast: { kind: "bool", text: "true" } } as const,
    });
    const rows = differences([given("0.1"), given("0.2")]);
    expect(rows.find((row) => row.name === "lr")).toEqual({
      kind: "parameter",
      name: "lr",
      values: ["0.1", "0.2"],
      differs: true,
    });
    expect(rows.find((row) => row.name === "fast")!.differs).toBe(false);
  });
  test("the best minimum, and deltas", () => {
    expect([...bestOf(rows.find((row) => row.kind === "metric min")!)]).toEqual([1]);
    expect(delta(0.25, 0.5)).toBe(-50);
    expect(delta("x", 1)).toBeNull();
    expect(delta(1, 0)).toBeNull();
  });
});

describe("sweeps", () => {
  const axes = sweepAxes(RUNS, [columnOf("val/loss.last")!]);
  test("numbers over decades are logarithmic, words are categories", () => {
    expect(axes.map((axis) => [axis.id, axis.log, axis.categories])).toEqual([
      ["tag:lr", true, null],
      ["tag:opt", false, ["adam", "sgd"]],
      ["val/loss.last", false, null],
    ]);
    expect(place(axes[0]!, 0.001)).toBe(0);
  });
  test("a run without the value passes no range of it", () => {
    expect(passing(axes, { "val/loss.last": [0, 1] }, 3)).toEqual([true, true, false]);
  });
});

test("files as a tree", () => {
  const file = (path: string) => ({ path, size: 1, sha256: "", created_utc: "" });
  const tree = fileTree([file("outputs/b/model.pt"), file("a.txt"), file("outputs/x10"), file("outputs/x9")]);
  expect(tree.files.map((row) => row.name)).toEqual(["a.txt"]);
  expect(tree.folders[0]!.files.map((row) => row.name)).toEqual(["x9", "x10"]);
  expect(tree.folders[0]!.folders[0]!.path).toBe("outputs/b");
});

test("curves of a classifier", () => {
  const { roc, precisionRecall } = rates([
    [10, 10, 0, 0],
    [5, 0, 10, 5],
    [0, 0, 10, 10],
  ]);
  expect(roc).toEqual([
    { x: 0, y: 0 },
    { x: 0, y: 0.5 },
    { x: 1, y: 1 },
  ]);
  expect(precisionRecall).toEqual([
    { x: 0.5, y: 1 },
    { x: 1, y: 0.5 },
  ]);
});

test("the address of an artifact", () => {
  expect(artifactPath("aml://artifactId/ExperimentRun/dcid.r1/images/a.png", "r1")).toBe("images/a.png");
});

test("thirty runs are drawn differently", () => {
  for (const dark of [true, false])
    expect(new Set(Array.from({ length: 30 }, (_, i) => JSON.stringify(strokeOf(i, dark)))).size).toBe(30);
});
