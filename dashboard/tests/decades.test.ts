/** Log x: the beginning is fetched by itself, and joined with the rest, each point once. */
import { expect, test } from "vitest";
import { joined, loadDecades } from "../src/chart/decades";
import type { Frame, Line } from "../src/chart/frame";
import type { ChartQuery } from "../src/chart/load";
import { readX, writeX } from "../src/chart/texts";
import { xRangeOf } from "../src/chart/scales";
import type { View } from "../src/chart/view.svelte";

const COUNT = 10_000;
const BUCKETS = 100;

/** What the server answers of x = value = 0 ... COUNT - 1. */
function answer({ from, to }: ChartQuery): Frame {
  const first = from ?? 0;
  const last = Math.min(to ?? COUNT - 1, COUNT - 1);
  const bucket = Math.max(1, 2 ** Math.ceil(Math.log2((last - first + 1) / BUCKETS)));
  const ends: number[] = [];
  for (let at = first; at <= last; at = (Math.floor(at / bucket) + 1) * bucket)
    ends.push(Math.min((Math.floor(at / bucket) + 1) * bucket - 1, last));
  const x = Float64Array.from(ends);
  const low = Float64Array.from(ends, (end) => Math.max(first, Math.floor(end / bucket) * bucket));
  const points = Math.floor(last - first + 1);
  const line: Line = {
    runId: "r",
    x,
    last: x,
    low,
    high: x,
    smooth: null,
    marks: null,
    points,
    total: COUNT,
  };
  return { name: "n", axis: "step", bucket, first, last, lines: [line] };
}

const query: ChartQuery = { runs: ["r"], axis: "step", width: BUCKETS, from: null, to: null, smoothing: 0 };

test("every decade has points, in order, and nothing is left out between the parts", async () => {
  const asked: (number | null)[] = [];
  const frame = await loadDecades(
    (_, part) => (
      asked.push(part.to),
      Promise.resolve(answer({ ...part, to: part.to && Math.floor(part.to) }))
    ),
    "n",
    query,
  );
  const [{ x, low }] = frame.lines as [Line];
  expect(asked.length).toBeGreaterThan(1);
  expect(asked.length).toBeLessThan(5);
  expect([...x.slice(0, 5)]).toEqual([0, 1, 2, 3, 4]);
  for (let i = 1; i < x.length; i++) {
    expect(x[i]!).toBeGreaterThan(x[i - 1]!);
    expect(low[i]!).toBeLessThanOrEqual(x[i - 1]! + 1);
  }
  expect(x.at(-1)).toBe(COUNT - 1);
});

test("what has every point is asked for once; marks and missing lines are kept", async () => {
  let asked = 0;
  const few = { ...answer({ ...query, to: 50 }), last: 50 };
  await loadDecades(() => ((asked += 1), Promise.resolve(few)), "n", query);
  expect(asked).toBe(1);
  const line = few.lines[0]!;
  const marked = { ...line, runId: "s", marks: new Uint8Array(line.x.length).fill(1) };
  const all = joined({ ...few, lines: [line] }, { ...few, lines: [line, marked] }, 10);
  expect(all.lines.map((part) => [part.runId, part.x.length, part.marks?.[0]])).toEqual([
    ["r", line.x.length, undefined],
    ["s", line.x.length, 1],
  ]);
});

test("the range of a log axis begins at what is above 0", () => {
  const view = { axis: "step", from: null, to: null, logX: true } as View;
  expect(xRangeOf(view, [answer(query)])).toEqual({ min: 127, max: COUNT - 1 });
  expect(xRangeOf({ ...view, from: 5, to: 5 }, [])).toEqual({ min: 2.5, max: 10 });
  expect(xRangeOf(view, [])).toEqual({ min: 0.5, max: 2 });
  expect(xRangeOf({ ...view, axis: "time" }, [answer(query)]).min).toBe(0);
});

test("an end of x is typed as it is read", () => {
  expect([readX("step", " 12 "), readX("step", ""), readX("step", "x"), readX("time", "x")]).toEqual([
    12,
    null,
    undefined,
    undefined,
  ]);
  const moment = readX("time", "2026-11-30 06:05:04")!;
  expect(writeX("time", moment)).toBe("2026-11-30 06:05:04");
  expect([writeX("relative", 0.1 + 0.2), writeX("step", null)]).toEqual(["0.3", ""]);
});
