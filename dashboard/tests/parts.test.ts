/** The parts of a line chart that need no canvas: which ranges it shows, how they read, and where a zoom goes. */
import { describe, expect, test } from "vitest";
import type { Extent } from "../src/chart/draw";
import type { Frame, Line } from "../src/chart/frame";
import { xRangeOf, yRangeOf } from "../src/chart/scales";
import { factsOf, noteOf, xText } from "../src/chart/texts";
import type { View } from "../src/chart/view.svelte";
import { zoomOf } from "../src/chart/zoom.svelte";

const view: View = {
  axis: "step",
  from: null,
  to: null,
  smoothing: 0,
  log: false,
  logX: false,
  withoutOutliers: false,
  y: null,
};
const nothing: Extent = { range: null, outside: 0, hidden: 0 };

function frame(first: number, last: number, lines = [{} as Line]): Frame {
  return { name: "loss", axis: "step", bucket: 1, first, last, lines };
}

describe("ranges", () => {
  test("x is what the view says, else from the first point of any metric to the last", () => {
    expect(xRangeOf(view, [frame(2, 9), frame(0, 5), frame(-50, 50, [])])).toEqual({ min: 0, max: 9 });
    expect(xRangeOf({ ...view, from: 3 }, [frame(2, 9)])).toEqual({ min: 3, max: 9 });
    expect(xRangeOf(view, [frame(4, 4)])).toEqual({ min: 3.5, max: 4.5 });
    expect(xRangeOf(view, [])).toEqual({ min: 0, max: 1 });
  });
  test("y is what the view says, else what is in sight; a log axis takes no range that reaches zero", () => {
    const seen = { ...nothing, range: { min: 1, max: 2 } };
    expect(yRangeOf(view, seen)).toEqual({ min: 1, max: 2 });
    expect(yRangeOf({ ...view, y: { min: 0, max: 5 } }, seen)).toEqual({ min: 0, max: 5 });
    expect(yRangeOf({ ...view, log: true, y: { min: 0, max: 5 } }, seen)).toEqual({ min: 1, max: 2 });
    expect(yRangeOf({ ...view, log: true }, nothing)).toEqual({ min: 0.1, max: 10 });
    expect(yRangeOf({ ...view, y: { min: 0 } }, seen)).toEqual({ min: 0, max: 2 });
    expect(yRangeOf({ ...view, y: { min: 3 } }, seen)).toEqual({ min: 1, max: 2 });
  });
});

describe("texts", () => {
  test("x is said with what it is where it is read, and short beside the axis", () => {
    expect(xText("step", 12000, true)).toBe("step 12,000");
    expect(xText("metric:lr", 0.25, true)).toBe("lr 0.25");
    expect(xText("metric:lr", 0.25)).toBe("0.25");
  });
  test("a note tells what the lines do not", () => {
    const bucketed = { low: new Float64Array(1), last: new Float64Array(1), marks: Uint8Array.of(1) } as Line;
    const shown = noteOf({ ...view, smoothing: 0.5 }, factsOf([bucketed]), false, 4, {
      ...nothing,
      outside: 3,
    });
    expect(shown).toBe("min–max of 4 steps · smoothed 0.5 · 3 outside · NaN or ∞ marked");
    expect(noteOf(view, factsOf([bucketed]), true, 4, nothing)).toBe("mean ± sd · NaN or ∞ marked");
    expect(noteOf(view, factsOf([]), false, 4, nothing)).toBe("");
  });
});

describe("zoom", () => {
  function zooming(over: Partial<View> = {}, range = { min: 0, max: 100 }, logX = false) {
    const asked: unknown[] = [];
    const zoom = zoomOf(
      {
        view: { ...view, ...over },
        onrange: (from, to, push) => asked.push([from, to, push]),
        ony: (y) => asked.push(y),
      },
      () => range,
      () => logX,
    );
    return { zoom, asked };
  }
  test("steps are whole, and at least one is shown", () => {
    const { zoom, asked } = zooming();
    zoom.by(0.5);
    zoom.move({ min: 10.2, max: 10.4 }, true);
    expect(asked).toEqual([
      [25, 75, true],
      [10, 11, true],
    ]);
  });
  test("on a log axis the middle is that of what is seen", () => {
    const { zoom, asked } = zooming({}, { min: 1, max: 10_000 }, true);
    zoom.by(0.5);
    expect(asked).toEqual([[10, 1001, true]]);
  });
  test("panning shows as many steps as before", () => {
    const { zoom, asked } = zooming();
    zoom.move({ min: 10.4, max: 20.4 }, false, true);
    zoom.move({ min: 10.6, max: 20.6 }, true, true);
    expect(asked).toEqual([
      [10, 20, false],
      [11, 21, true],
    ]);
  });
  test("a moment is not zoomed into beyond a millisecond", () => {
    const { zoom, asked } = zooming({ axis: "relative" });
    zoom.move({ min: 1, max: 1.0001 }, true);
    expect(asked).toEqual([]);
  });
  test("all of it is shown again, y as well where it was zoomed", () => {
    const { zoom, asked } = zooming({ y: { min: 0, max: 1 } });
    zoom.reset();
    expect(asked).toEqual([null, [null, null, true]]);
  });
});
