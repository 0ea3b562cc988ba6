import { describe, expect, test } from "vitest";
import {
  accept,
  firstMistake,
  keyTerm,
  parts,
  placeAt,
  suggestions,
  toggleTerm,
  type Known,
} from "../src/runs/query";

const KNOWN: Known = {
  experiments: ["ridge", "two words"],
  targets: ["local"],
  types: [],
  tags: new Map([
    ["model", ["ridge", "deep net"]],
    ["my key", ["1"]],
  ]),
  properties: new Map(),
  parameters: new Map([["batch-size", ["8", "16"]]]),
  metrics: ["val/loss", "epoch time"],
};

function complete(text: string): string[] {
  return suggestions(placeAt(text, text.length), KNOWN).map((suggestion) => suggestion.text);
}

test("parts are split as the server splits them", () => {
  expect(parts('ridge "two words" tag:"a b"=c').map((part) => part.text)).toEqual([
    "ridge",
    '"two words"',
    'tag:"a b"=c',
  ]);
});

test.each([
  ["loss<0.1 ridge", ""],
  ["loss<1e-3 a>=-.5 b!=inf", ""],
  ["loss<abc", "loss<abc: 'abc' is no number"],
  ["status:", "status:: something is missing after the colon"],
  [
    "status:running,odd",
    "status:running,odd: 'odd' is no status; use running, completed, failed, canceled, queued, notresponding …",
  ],
  ["since:7d before:2026-01-31", ""],
  ["since:soon", "since:soon: 'soon' is no time; use e.g. 30m, 12h, 7d, 2w or 2026-01-31"],
  ["is:gone", "is:gone: use is:archived or is:any"],
  ['tag:"open', "tag:: something is missing after the colon"],
  ['a "open', '"open: this quote is not closed'],
  ["http://odd", ""],
  [
    "-status:odd",
    "-status:odd: 'odd' is no status; use running, completed, failed, canceled, queued, notresponding …",
  ],
  ["tag:lr<=0.1 -tag:model=a<b param:lr!=x longer:1.5h - -ridge", ""],
  ["tag:lr<x", "tag:lr<x: 'x' is no number"],
  ["epoch=5 -epoch.max=5", ""],
  ["epoch=five", "epoch=five: 'five' is no number"],
  ["loss<nan", "loss<nan: 'nan' is no number"],
  ["loss<", "loss<: '' is no number"],
  ["<5", "<5: the name of a metric is missing"],
  ["stauts:failed", "stauts:failed: there is no field stauts:; use quotes to look for it as a text"],
  ['"a=b" "c:d" 5:1 wow!', ""],
  ["longer:soon", "longer:soon: 'soon' is no duration; use e.g. 90s, 30m, 2h, 1d"],
])("%s has the mistake %j", (text, mistake) => expect(firstMistake(text)).toBe(mistake));

describe("completion", () => {
  test("fields, metrics and tags for a word", () => {
    expect(complete("lo")).toEqual(["longer:", "val/loss<"]);
    expect(complete("t")).toEqual(["tag:", "target:", "type:", '"epoch time"<', "param:batch-size"]);
    expect(complete("mod")).toEqual(["tag:model"]);
  });
  test("values of a field, also after a comma", () => {
    expect(complete("status:comp")).toEqual(["status:completed"]);
    expect(complete("status:failed,run")).toEqual(["status:failed,running"]);
    expect(complete("experiment:two")).toEqual(['experiment:"two words"']);
  });
  test("keys and values of tags", () => {
    expect(complete("tag:my")).toEqual(['tag:"my key"']);
    expect(complete("tag:model=de")).toEqual(['tag:model="deep net"']);
    expect(complete("-param:batch-size=1")).toEqual(["param:batch-size=16"]);
  });
  test("statistics of a metric", () => {
    expect(complete("val/loss.m")).toEqual(["val/loss.min<", "val/loss.max<", "val/loss.mean<"]);
  });
  test("a suggestion takes the place of the part the cursor is in", () => {
    const text = "ridge stat loss<1";
    const place = placeAt(text, "ridge stat".length);
    const [after, cursor] = accept(text, place, suggestions(place, KNOWN)[0]!);
    expect([after, cursor]).toEqual(["ridge status: loss<1", "ridge status:".length]);
    const end = placeAt("status:fai", 10);
    expect(accept("status:fai", end, suggestions(end, KNOWN)[0]!)[0]).toBe("status:failed ");
  });
});

test("a click adds a term, takes its like out, or takes it back", () => {
  expect(toggleTerm("ridge status:failed", "status:running", "status:")).toBe("ridge status:running");
  expect(toggleTerm("ridge status:running", "status:running", "status:")).toBe("ridge");
  expect(toggleTerm('"two words"', keyTerm("tag", "my key", "a"))).toBe('"two words" tag:"my key"=a');
});
