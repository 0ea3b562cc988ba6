/** Runs over their parameters: axes, points, and the field between them. */
import { expect, test } from "vitest";
import { csvText } from "../src/chart/take";
import type { Run } from "../src/lib/types";
import { logDrawn } from "../src/runs/drawn";
import { bandPath, fieldOf, type Sample } from "../src/runs/field";
import { withActive } from "../src/runs/following";
import { bestOf, objectiveOf, objectiveValues } from "../src/runs/objective";
import {
  legendOf,
  looksOf,
  parameterAxes,
  pathsOf,
  placeWithin,
  robustAxis,
  spotAfter,
  spotAt,
} from "../src/runs/slice";
import { marks, type SweepAxis } from "../src/runs/sweep";

const NONE: ReadonlySet<string> = new Set();

function run(params: Record<string, string>, more: Partial<Run> = {}): Run {
  const given = Object.fromEntries(Object.entries(params).map(([name, text]) => [name, { text }]));
  return {
    run_id: "r",
    tags: {},
    properties: {},
    details: {},
    status: "Completed",
    ...more,
    params: given,
  } as Run;
}

const title = (axis: SweepAxis) => axis.title + (axis.categories ? " of categories" : axis.log ? " log" : "");

test("parameters that differ are axes; a tag is one only where nothing was logged as a parameter", () => {
  const runs = [
    run({ lr: "0.01", act: "relu", batch: "8" }, { tags: { who: "a" } }),
    run({ lr: "0.02", act: "gelu", batch: "8" }, { tags: { who: "b" } }),
  ];
  expect(parameterAxes(runs, NONE).map(title)).toEqual(["act of categories", "lr"]);
  const tagged = [run({}, { tags: { lr: "1" } }), run({}, { tags: { lr: "3" } })];
  expect(parameterAxes(tagged, NONE).map(title)).toEqual(["lr"]);
});

test("an axis is logarithmic where its range was drawn so, and where values span decades", () => {
  const runs = [run({ lr: "0.01", decay: "0.00001" }), run({ lr: "0.02", decay: "0.1" })];
  expect(parameterAxes(runs, NONE).map(title)).toEqual(["decay log", "lr"]);
  expect(parameterAxes(runs, new Set(["lr"])).map(title)).toEqual(["decay log", "lr log"]);
  const zero = [run({ lr: "0" }), run({ lr: "0.02" })];
  expect(parameterAxes(zero, new Set(["lr"])).map(title)).toEqual(["lr"]);
});

test("a sweep says which ranges it drew by their logarithm, in either of two ways of writing it", () => {
  const space = {
    lr: { kind: "LogUniform", low: 0.001, high: 0.01 },
    units: { kind: "Integer", low: 1, high: 9, log: true },
    width: { kind: "Integer", low: 1, high: 9, log: false },
    decay: { kind: "Quantized", step: 0.1, of: { kind: "LogNormal" } },
    act: { kind: "Choice", values: ["LogUniform"] },
  };
  const own = { properties: { sweep: JSON.stringify({ space }) } };
  expect([...logDrawn([own])].sort()).toEqual(["decay", "lr", "units"]);
  const parameter_space = {
    lr: ["loguniform", [-7, -2]],
    batch: ["choice", [[1, 2]]],
    q: ["qlognormal", [0, 1, 1]],
  };
  const other = { properties: { generator_config: JSON.stringify({ name: "RANDOM", parameter_space }) } };
  expect([...logDrawn([other])].sort()).toEqual(["lr", "q"]);
  const hostile = ["", "null", "[]", '{"space": 7}', '{"space": {"a": null}}', "{"];
  expect(logDrawn(hostile.map((sweep) => ({ properties: { sweep } }))).size).toBe(0);
});

test("a log axis of less than a decade is marked too", () => {
  const axis = { id: "", title: "", values: [], categories: null, min: 0.002, max: 0.008, log: true };
  expect(marks(axis, 4)).toEqual([0.002, 0.005]);
  expect(marks({ ...axis, min: 0.0005, max: 0.02 }, 4)).toEqual([0.001, 0.01]);
  expect(marks({ ...axis, min: 0.0021, max: 0.0028 }, 4).length).toBeGreaterThan(2);
  expect(marks({ ...axis, min: 0.001, max: 1 }, 4)).toEqual([0.001, 0.01, 0.1, 1]);
});

test("one value that lies far off does not press the others together", () => {
  const axis = robustAxis("y", "loss", [null, 1, 1.1, 1.2, 1.3, 1.4, 60])!;
  expect([axis.min, axis.max, axis.beyond]).toEqual([1, 1.4, 1]);
  expect(placeWithin(axis, 60)).toBe(1);
  expect(robustAxis("y", "loss", [null])).toBeNull();
  const decades = [1e-4, 1e-3, 1e-2, 1e-1, 1, 10];
  expect(robustAxis("y", "loss", decades)).toMatchObject({ log: true, beyond: 0 });
  const outlier = [...Array.from({ length: 30 }, (_, i) => 0.3 + i / 100), 900];
  expect(robustAxis("y", "loss", outlier)).toMatchObject({ log: false, beyond: 1 });
  const same = robustAxis("y", "loss", [2, 2, 2])!;
  expect([same.min, same.max, same.beyond, placeWithin(same, 2)]).toEqual([2, 2, 0, 0.5]);
});

test("the objective is the metric that was chosen, by the statistic it was defined by", () => {
  const known = { stat: () => "min" as const };
  expect(objectiveOf(["a", "b"], { metric: "b", stat: null }, known)).toEqual({ metric: "b", stat: "min" });
  expect(objectiveOf(["a"], { metric: "gone", stat: "max" }, known)).toEqual({ metric: "a", stat: "max" });
  expect(objectiveOf([], { metric: null, stat: "count" }, { stat: () => null })).toEqual({
    metric: "",
    stat: "last",
  });
  const summaries = (last: number | string) => ({ a: { kind: 0, last } }) as unknown as Run["summaries"];
  const runs = [run({}, { summaries: summaries(3) }), run({}, { summaries: summaries("NaN") }), run({})];
  expect(objectiveValues(runs, { metric: "a", stat: "last" })).toEqual([3, null, null]);
  expect(bestOf([3, null, 2], "min", "last")).toBe(2);
  expect(bestOf([3, null, 2], null, "last")).toBe(-1);
});

test("points look alike by status, in shape too, or become stronger by the order they came in", () => {
  const runs = [
    run({}, { start_time_utc: "2026-01-02T00:00:00Z", status: "Failed" }),
    run({}, { start_time_utc: "2026-01-01T00:00:00Z" }),
  ];
  const byStatus = looksOf(runs, "status");
  expect(byStatus.map((look) => [look.name, look.shape])).toEqual([
    ["failed", "cross"],
    ["completed", "dot"],
  ]);
  expect(legendOf(byStatus).map((look) => look.name)).toEqual(["completed", "failed"]);
  const [later, earlier] = looksOf(runs, "order");
  expect([earlier!.name, later!.name]).toEqual(["first", "last"]);
  expect(later!.colour).not.toBe(earlier!.colour);
  const many = looksOf(
    Array.from({ length: 100 }, () => run({})),
    "order",
  );
  const spots = many.map((_, i) => ({ i, x: i, y: 0 }));
  expect(pathsOf(spots, many).length).toBeLessThan(10);
});

test("arrow keys go from point to point and stop at the ends; a pointer takes what is near", () => {
  const spots = [4, 2, 9].map((i, at) => ({ i, x: 100 * at, y: 0 }));
  expect(spotAfter(spots, null, 1)?.i).toBe(4);
  expect(spotAfter(spots, null, -1)?.i).toBe(9);
  expect(spotAfter(spots, spots[1]!, 1)?.i).toBe(9);
  expect(spotAfter(spots, spots[2]!, 1)?.i).toBe(9);
  expect(spotAfter([], null, 1)).toBeNull();
  expect(spotAt(spots, 95, 8)?.i).toBe(2);
  expect(spotAt(spots, 50, 40)).toBeNull();
});

const grid = (value: (x: number, y: number) => number): Sample[] =>
  Array.from({ length: 64 }, (_, i) => {
    const [x, y] = [(i % 8) / 7, Math.floor(i / 8) / 7];
    return { x, y, value: value(x, y) };
  });

test("a field is the samples' mean near them, stays between them, and ends where none is near", () => {
  const flat = fieldOf(
    grid(() => 0.5),
    11,
    11,
  );
  expect([...flat.values].every((value) => Math.abs(value - 0.5) < 1e-12)).toBe(true);
  const slope = fieldOf(
    grid((x) => x),
    11,
    11,
  );
  const row = [...slope.values.slice(55, 66)];
  expect(row.every((value, i) => i === 0 || value > row[i - 1]!)).toBe(true);
  expect(Math.min(...slope.values)).toBeGreaterThanOrEqual(0);
  expect(Math.max(...slope.values)).toBeLessThanOrEqual(1);
  expect(slope.values[60]).toBeCloseTo(0.5, 6);
  const corner = fieldOf(
    Array.from({ length: 16 }, () => ({ x: 0, y: 0, value: 1 })),
    11,
    11,
  );
  expect(corner.values[0]).toBe(1);
  expect(corner.values[120]).toBeNaN();
});

/** The area of a path of polygons. */
function area(path: string): number {
  return path
    .split("M")
    .filter(Boolean)
    .map((polygon) =>
      polygon
        .replace("Z", "")
        .split("L")
        .map((pair) => pair.split(" ").map(Number)),
    )
    .reduce((sum, corners) => {
      const twice = corners.reduce((all, [x, y], i) => {
        const [nextX, nextY] = corners[(i + 1) % corners.length]!;
        return all + x! * nextY! - nextX! * y!;
      }, 0);
      return sum + Math.abs(twice) / 2;
    }, 0);
}

test("bands between values cover the field once, and each its part", () => {
  const values = Float64Array.from({ length: 121 }, (_, i) => (i % 11) / 10);
  const field = { columns: 11, rows: 11, values, width: 0.1 };
  const to = (place: number) => place * 1000;
  const bands = [
    [-Infinity, 0.25],
    [0.25, 0.5],
    [0.5, Infinity],
  ].map(([low, high]) => area(bandPath(field, low!, high!, to, to)));
  expect(bands[0]! / 1e6).toBeCloseTo(0.25, 2);
  expect(bands[1]! / 1e6).toBeCloseTo(0.25, 2);
  expect(bands[2]! / 1e6).toBeCloseTo(0.5, 2);
  const hole = { ...field, values: values.map((value, i) => (i === 0 ? NaN : value)) };
  expect(area(bandPath(hole, -Infinity, Infinity, to, to)) / 1e6).toBeCloseTo(0.99, 3);
});

test("a sweep's charts follow the rows in sight and every run that may still change", () => {
  const runs = [
    { run_id: "done", status: "Completed", settled: true },
    { run_id: "lives", status: "Running", settled: false },
    { run_id: "ended just now", status: "Failed", settled: false },
  ] as const;
  expect(withActive(["seen"], runs)).toEqual(["seen", "lives", "ended just now"]);
});

test("rows become CSV, whatever their cells hold", () => {
  expect(
    csvText([
      ["a", "b,c"],
      ['say "x"', null],
      [1e-7, undefined],
    ]),
  ).toBe('a,"b,c"\r\n"say ""x""",\r\n1e-7,\r\n');
});
