import { describe, expect, it } from "vitest";
import { peaksOf, playTime, soughtBy } from "../src/run/waveform";
import { documentOf } from "../src/viewer/document";
import { heard, MOST_HEIGHT } from "../src/viewer/protocol";
import { separated } from "../src/viewer/separated";

const bytesOf = (text: string) => new TextEncoder().encode(text).buffer as ArrayBuffer;

describe("what a viewer's frame says", () => {
  it("is taken where it is text and bounded numbers", () => {
    expect(heard({ said: "ready", more: 1 })).toEqual({ said: "ready" });
    expect(heard({ said: "height", height: 1e9 })).toEqual({ said: "height", height: MOST_HEIGHT });
    expect((heard({ said: "failed", text: "x".repeat(5000) }) as { text: string }).text.length).toBeLessThan(
      500,
    );
  });
  it("is nothing where it is anything else", () => {
    for (const data of [
      null,
      "ready",
      7,
      [],
      {},
      { said: "height", height: NaN },
      { said: "height", height: -1 },
    ])
      expect(heard(data)).toBeNull();
    expect(heard({ said: "failed", text: { toString: () => "x" } })).toBeNull();
  });
});

describe("the document of a figure", () => {
  it("is an object, and says what it is where it is none", () => {
    expect(documentOf(bytesOf('{"data": []}'))).toEqual({ data: [] });
    for (const text of ["{", "[1]", "null", "7", ""])
      expect(() => documentOf(bytesOf(text))).toThrow("The file is no");
    expect(() => documentOf(new Uint8Array([255, 254]).buffer)).toThrow("The file is no JSON");
  });
});

describe("separated values", () => {
  it("are read as Vega reads them, whatever their names are", () => {
    const table = separated(",")('a,"b\'];throw 1;//",__proto__\n1,"x,y",2\n3,,4\n');
    expect(table.columns).toEqual(["a", "b'];throw 1;//", "__proto__"]);
    expect(table.map((row) => row.a)).toEqual(["1", "3"]);
    expect(table[0]!["b'];throw 1;//"]).toBe("x,y");
    expect(({} as Record<string, unknown>).a).toBeUndefined();
  });
  it("may have their header and their separator in the format", () => {
    expect(separated()("1|2", { delimiter: "|", header: ["x", "y"] }).map((row) => ({ ...row }))).toEqual([
      { x: "1", y: "2" },
    ]);
  });
});

describe("a waveform", () => {
  it("has the lowest and the highest sample of each piece, over all channels", () => {
    const left = Float32Array.of(0, 1, 0, -0.5);
    const right = Float32Array.of(-1, 0, 0, 0.25);
    const { low, high } = peaksOf([left, right], 2);
    expect([...low]).toEqual([-1, -0.5]);
    expect([...high]).toEqual([1, 0.25]);
  });
  it("of few samples has no piece without any, and of none is empty", () => {
    expect(peaksOf([Float32Array.of(1, -1, 1)], 100).high.length).toBe(3);
    expect(peaksOf([], 100).low.length).toBe(0);
    expect(peaksOf([new Float32Array(5)], 0).low.length).toBe(0);
  });
  it("is gone through by keys", () => {
    expect(soughtBy("ArrowRight", 1, 20)).toBe(2);
    expect(soughtBy("ArrowLeft", 0.5, 1000)).toBe(0);
    expect(soughtBy("End", 0, 3)).toBe(3);
    expect(soughtBy("x", 0, 3)).toBeNull();
    expect(soughtBy("End", 0, NaN)).toBeNull();
  });
  it("says times as players do", () => {
    expect([0, 5.25, 65, 3725, NaN, Infinity].map(playTime)).toEqual([
      "0:00.0",
      "0:05.3",
      "1:05",
      "1:02:05",
      "–",
      "–",
    ]);
  });
});
