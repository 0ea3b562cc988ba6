import { expect, test } from "vitest";
import { shiftOf } from "../src/chart/paint";
import { tracePath, type Transform } from "../src/chart/draw";
import type { Line } from "../src/chart/frame";

test("a picture is moved by whole pixels, and only where its scale stays", () => {
  expect(shiftOf({ min: 0, max: 1000 }, { min: 10, max: 1010 }, 500)).toBe(5);
  expect(shiftOf({ min: 0, max: 1000 }, { min: -10, max: 990 }, 500)).toBe(-5);
  expect(shiftOf({ min: 0, max: 1000 }, { min: 0, max: 1000 }, 500)).toBe(0);
  expect(shiftOf({ min: 0, max: 1000 }, { min: 0, max: 900 }, 500)).toBeNull();
  expect(shiftOf({ min: 0, max: 1000 }, { min: 1000, max: 2000 }, 500)).toBeNull();
});

class Recorded {
  points: [number, number][] = [];
  moveTo(x: number, y: number): void {
    this.points.push([x, y]);
  }
  lineTo(x: number, y: number): void {
    this.points.push([x, y]);
  }
  rect(): void {}
}

test("what comes in beside a moved picture lies where the whole picture has it", () => {
  globalThis.Path2D = Recorded as unknown as typeof Path2D;
  const n = 400;
  const x = Float64Array.from({ length: n }, (_, i) => i);
  const last = Float64Array.from({ length: n }, (_, i) => Math.sin(i / 7));
  const line: Line = {
    runId: "r",
    x,
    last,
    low: last,
    high: last,
    smooth: null,
    marks: null,
    points: n,
    total: n,
  };
  const t: Transform = {
    x: { min: 0, max: 399 },
    y: { min: -1, max: 1 },
    log: false,
    left: 0,
    top: 0,
    width: 798,
    height: 100,
  };
  const points = (of: Transform) => (tracePath(line, last, of, false, 0) as unknown as Recorded).points;
  const whole = new Map(points(t).map(([px, py]) => [px, py]));
  const part = points({ ...t, part: { min: 350, max: 399 } });
  expect(part.length).toBe(51); // one more than the range, so that the line comes in from outside
  for (const [px, py] of part) expect(whole.get(px)).toBe(py);
});
