import { expect, test } from "vitest";
import type { Frame, Line } from "../src/chart/frame";
import { meanOf } from "../src/chart/group";
import { zoomed } from "../src/chart/gestures";
import { mergedCharts } from "../src/chart/layout";
import { tracesOf, type ChartRun } from "../src/chart/traces";
import { groupsBy } from "../src/compare/groups";
import type { Run } from "../src/lib/types";

function line(runId: string, x: number[], values: number[]): Line {
  const last = Float64Array.from(values);
  return {
    runId,
    x: Float64Array.from(x),
    last,
    low: last,
    high: last,
    smooth: null,
    marks: null,
    points: x.length,
    total: x.length,
  };
}

function frame(name: string, lines: Line[]): Frame {
  return { name, axis: "step", bucket: 1, first: 0, last: 10, lines };
}

const run = (id: string): ChartRun => ({ id, name: id, stroke: { colour: "#000", dash: [] }, hidden: false });

test("a group's mean is over the members that have a value, and says how many", () => {
  const mean = meanOf("g", [line("a", [0, 1, 2], [1, 2, 3]), line("b", [0, 1], [3, NaN])], 1);
  expect([...mean.x]).toEqual([0, 1, 2]);
  expect([...mean.last]).toEqual([2, 2, 3]);
  expect([...mean.n!]).toEqual([2, 1, 1]);
  expect(mean.high[0]! - mean.last[0]!).toBeCloseTo(Math.SQRT2);
  expect(mean.low[1]).toBe(2);
});

test("members that log at other steps of a bucket meet in it", () => {
  const mean = meanOf("g", [line("a", [3, 9], [1, 5]), line("b", [2, 11], [3, 7])], 4);
  expect([...mean.x]).toEqual([3, 11]);
  expect([...mean.last]).toEqual([2, 6]);
});

test("several metrics in a chart: the colour is the run, the dash the metric", () => {
  const frames = [frame("train/loss", [line("a", [0], [1])]), frame("val/loss", [line("a", [0], [2])])];
  const traces = tracesOf(frames, [run("a")], undefined);
  expect(traces.map((trace) => [trace.name, trace.stroke.colour])).toEqual([
    ["a train/loss", "#000"],
    ["a val/loss", "#000"],
  ]);
  expect(traces[0]!.stroke.dash).not.toEqual(traces[1]!.stroke.dash);
});

test("metrics with the same name after their prefix make one chart", () => {
  expect(mergedCharts(["train/loss", "lr", "val/loss"])).toEqual([
    { name: "train, val: loss", metrics: ["train/loss", "val/loss"] },
    { name: "lr", metrics: ["lr"] },
  ]);
});

test("zooming keeps what lies at the pointer where it is", () => {
  expect(zoomed({ min: 0, max: 100 }, 0.5, 20)).toEqual({ min: 10, max: 60 });
});

test("runs are grouped by a tag in natural order, those without it by themselves", () => {
  const runs = [
    ["a", { seed: "10" }],
    ["b", { seed: "9" }],
    ["c", {}],
    ["d", { seed: "9" }],
  ].map(([run_id, tags]) => ({ run_id, tags }) as Run);
  expect(groupsBy(runs, "seed").map(([value, members]) => [value, members.length])).toEqual([
    ["–", 1],
    ["9", 2],
    ["10", 1],
  ]);
});
