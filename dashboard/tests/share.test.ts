/** A chart to take along, as numbers and as lines. */
import { expect, test } from "vitest";
import type { Line } from "../src/chart/frame";
import { csvOf, svgOf } from "../src/chart/share";
import type { Trace } from "../src/chart/traces";

function trace(name: string, values: number[], low = values): Trace {
  const last = Float64Array.from(values);
  const line: Line = {
    runId: name,
    x: Float64Array.from(values, (_, i) => i * 10),
    last,
    low: low === values ? last : Float64Array.from(low),
    high: last,
    smooth: null,
    marks: null,
    points: values.length,
    total: values.length,
  };
  const stroke = { colour: "#123456", dash: [8, 4] };
  const who = { id: `id of ${name}`, name, stroke, hidden: false };
  return { id: name, who, metric: "loss", name, stroke, group: false, line };
}

const ranges = { x: { min: 0, max: 20 }, y: { min: 0, max: 4 } };

test("CSV has a row for each bucket in sight, and keeps whatever a run is called", () => {
  const csv = csvOf({
    traces: [trace('a "b", c', [1, NaN, 3, 4], [0.5, NaN, 2, 4])],
    axis: "step",
    x: ranges.x,
  });
  expect(csv.split("\r\n")).toEqual([
    "run,run_id,metric,step,value,low,high",
    '"a ""b"", c","id of a ""b"", c",loss,0,1,0.5,1',
    expect.stringContaining(",loss,10,NaN,NaN,NaN"),
    expect.stringContaining(",loss,20,3,2,3"),
    "",
  ]);
});

test("SVG is well formed whatever names hold, breaks at what is no number, and names its runs", () => {
  const svg = svgOf({
    title: '<loss> & "more"',
    traces: [trace("<script>", [1, NaN, 3, 4]), trace("b", [2, 2, 2, 2])],
    axis: "step",
    log: false,
    logX: false,
    colours: { panel: "#fff", text: "#000", muted: "#555", rule: "#ddd" },
    ...ranges,
  });
  expect(svg).not.toContain("<script>");
  expect(svg).toContain("&lt;loss&gt; &amp; &quot;more&quot;");
  expect(svg).toContain('stroke-dasharray="8 4"');
  expect(svg.match(/ d="M[^"]*M[^"]*L/g)).toHaveLength(1);
});
