import { describe, expect, test } from "vitest";
import { extentOf, padded, toY } from "../src/chart/draw";
import { decodeFrames, lowerBound, nearest, type Line } from "../src/chart/frame";

function packed(header: unknown, ...columns: (Float64Array | Uint8Array)[]): ArrayBuffer {
  let text = JSON.stringify(header);
  while ((new TextEncoder().encode(text).length + 4) % 8) text += " ";
  const head = new TextEncoder().encode(text);
  const size =
    4 + head.length + columns.reduce((sum, column) => sum + 8 * Math.ceil(column.byteLength / 8), 0);
  const bytes = new Uint8Array(size);
  new DataView(bytes.buffer).setUint32(0, head.length, true);
  bytes.set(head, 4);
  let at = 4 + head.length;
  for (const column of columns) {
    bytes.set(new Uint8Array(column.buffer), at);
    at += 8 * Math.ceil(column.byteLength / 8);
  }
  return bytes.buffer;
}

function line(values: number[], low = values, high = values): Line {
  const x = Float64Array.from(values.keys());
  const last = Float64Array.from(values);
  const same = (other: number[]) => (other === values ? last : Float64Array.from(other));
  return {
    runId: "r",
    x,
    last,
    low: same(low),
    high: same(high),
    smooth: null,
    marks: null,
    points: x.length,
    total: x.length,
  };
}

describe("frames", () => {
  test("columns are read where they lie, marks padded", () => {
    const columns = ["x", "last", "marks"];
    const lines = [
      { run_id: "a", n: 3, points: 3, total: 3, columns },
      { run_id: "b", n: 1, points: 1, total: 9, columns: ["x", "last"] },
    ];
    const bytes = packed(
      { charts: [{ name: "loss é", x: "step", bucket: 1, first: 0, last: 2, lines }] },
      Float64Array.of(0, 1, 2),
      Float64Array.of(5, NaN, 7),
      Uint8Array.of(0, 1, 0),
      Float64Array.of(4),
      Float64Array.of(8),
    );
    const [chart] = decodeFrames(bytes);
    expect(chart!.name).toBe("loss é");
    expect([...chart!.lines[0]!.last]).toEqual([5, NaN, 7]);
    expect([...chart!.lines[0]!.marks!]).toEqual([0, 1, 0]);
    expect(chart!.lines[0]!.low).toBe(chart!.lines[0]!.last);
    expect([...chart!.lines[1]!.x]).toEqual([4]);
  });

  test("times become seconds", () => {
    const lines = [{ run_id: "a", n: 1, points: 1, total: 1, columns: ["x", "last"] }];
    const bytes = packed(
      { charts: [{ name: "m", x: "time", bucket: 2, first: 3e6, last: 3e6, lines }] },
      Float64Array.of(3e6),
      Float64Array.of(1),
    );
    expect([...decodeFrames(bytes)[0]!.lines[0]!.x]).toEqual([3]);
  });
});

test("the nearest point", () => {
  const xs = Float64Array.of(0, 10, 20);
  expect([
    lowerBound(xs, 10),
    nearest(xs, 4),
    nearest(xs, 16),
    nearest(xs, 99),
    nearest(new Float64Array(), 1),
  ]).toEqual([1, 0, 2, 2, -1]);
});

describe("range of y", () => {
  test("a spike within a bucket counts", () => {
    const { range } = extentOf(
      [line([1, 1, 1], [1, 0, 1], [1, 50, 1])],
      { min: 0, max: 2 },
      false,
      false,
      false,
    );
    expect(range!.max).toBeGreaterThan(50);
    expect(range!.min).toBeLessThan(0);
  });

  test("outliers are left out only if wanted, and counted", () => {
    const values = Array.from({ length: 200 }, (_, i) => Math.sin(i));
    values[100] = 1e6;
    const all = extentOf([line(values)], { min: 0, max: 199 }, false, false, false);
    const without = extentOf([line(values)], { min: 0, max: 199 }, false, true, false);
    expect(all.range!.max).toBeGreaterThan(1e6);
    expect(without.range!.max).toBeLessThan(2);
    expect(without.outside).toBeGreaterThan(0);
  });

  test("what a log axis cannot show is counted", () => {
    const { range, hidden } = extentOf([line([-1, 0, 10, 100])], { min: 0, max: 3 }, true, false, false);
    expect(hidden).toBe(2);
    expect(range!.min).toBeGreaterThan(0);
  });

  test("constants have a range, NaN has none", () => {
    const { min, max } = padded(5, 5, false);
    expect(min).toBeLessThan(5);
    expect(max).toBeGreaterThan(5);
    expect(extentOf([line([NaN, NaN])], { min: 0, max: 1 }, false, false, false).range).toBeNull();
  });

  test("a decade is a decade on a log axis", () => {
    const t = {
      x: { min: 0, max: 1 },
      y: { min: 1, max: 100 },
      log: true,
      left: 0,
      top: 0,
      width: 100,
      height: 100,
    };
    expect(toY(t, 10)).toBeCloseTo(50);
  });
});
