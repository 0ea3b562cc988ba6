import { describe, expect, test } from "vitest";
import { EXAMPLES, isEmbed, KINDS, readEmbed } from "../src/notes/embed";

const read = (info: string, ...lines: string[]) => readEmbed({ info, body: lines.join("\n") });

describe("a block of a note", () => {
  test("is one by its first word", () => {
    expect(isEmbed("runstream chart")).toBe(true);
    expect(isEmbed("runstream")).toBe(true);
    for (const other of ["python", "runstreams chart", "", undefined]) expect(isEmbed(other)).toBe(false);
  });

  test("has its settings one a line", () => {
    const chart = read(
      "runstream chart",
      "# both losses",
      "metric: train/loss",
      "metric:  val/loss, smoothed: yes ",
      'runs: experiment:"two words" loss<0.1',
      "x: metric:epoch",
      "smooth: 0.6",
      "log: yes",
      "group: param:lr",
      "sort: -loss.min",
      "most: 7",
      "title: Losses: all",
    );
    expect(chart).toMatchObject({
      kind: "chart",
      metrics: ["train/loss", "val/loss, smoothed: yes"],
      search: 'experiment:"two words" loss<0.1',
      axis: "metric:epoch",
      smoothing: 0.6,
      log: true,
      group: "param:lr",
      order: "-metric:loss:min",
      most: 7,
      title: "Losses: all",
    });
    expect(read("runstream table", "columns: status, a%2Cb.last, tag:x").columns).toEqual([
      "status",
      "a,b.last",
      "tag:x",
    ]);
  });

  test("that is offered can be read", () => {
    for (const kind of KINDS) expect(read(`runstream ${kind}`, EXAMPLES[kind]).kind).toBe(kind);
  });

  test.each([
    ["runstream chat", "metric: loss", '"chat" is nothing a note can show'],
    ["runstream", "", '"" is nothing a note can show'],
    ["runstream chart", "runs: ridge", "A chart needs a metric"],
    [
      "runstream chart",
      "metric: loss\nmetrik: loss",
      'Line 2: a chart has no "metrik"; it takes metric, runs',
    ],
    ["runstream chart", "metric loss", 'Line 1: "metric loss" is no setting'],
    ["runstream chart", "metric: loss\nx: epoch", 'Line 2: "epoch" is no x'],
    ["runstream chart", "metric: loss\nsmooth: 2", 'Line 2: "2" is no number from 0 to 0.999'],
    ["runstream chart", "metric: loss\nlog: maybe", "neither yes nor no"],
    ["runstream chart", "metric: loss\ngroup: lr", "cannot be put in groups"],
    [
      "runstream chart",
      Array.from({ length: 11 }, (_, i) => `metric: ${i}`).join("\n"),
      "Line 11: a chart shows at most 10",
    ],
    ["runstream table", "most: 1e6", 'Line 1: "1e6" is no whole number from 1 to 200'],
    ["runstream table", "columns: loss.median", '"loss.median" is no column'],
    ["runstream runs", "runs: loss<x", "Line 1: in the search, loss<x: 'x' is no number"],
    ["runstream runs", "runs: a\nruns: b", '"runs" is said twice'],
    ["runstream runs", "runs: a\nview: b", "both say which runs"],
    ["runstream runs", "sort: tags", 'cannot be sorted by "tags"'],
    ["runstream runs", "constructor: 1", 'a set of runs has no "constructor"'],
  ])("with a mistake says which: %s %s", (info, body, message) => {
    expect(() => readEmbed({ info, body })).toThrow(message);
  });
});
