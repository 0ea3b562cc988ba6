import { describe, expect, it } from "vitest";
import { imageDifference, stepAt } from "../src/compare/imageDifference";

const pixels = (...values: number[]) => Uint8ClampedArray.from(values);

describe("the difference of two pictures", () => {
  it("counts pixels, and takes a pixel's strongest channel", () => {
    const a = pixels(0, 0, 0, 255, 10, 20, 30, 255);
    const b = pixels(0, 0, 0, 255, 10, 120, 40, 255);
    const { share, mean, pixels: drawn } = imageDifference(a, b);
    expect([share, mean]).toEqual([0.5, 50]);
    expect(drawn[4]).toBeGreaterThan(drawn[0]! + 100);
  });
  it("of the same ones is none, and of nothing is defined", () => {
    expect(imageDifference(pixels(1, 2, 3, 4), pixels(1, 2, 3, 4)).share).toBe(0);
    expect(imageDifference(pixels(), pixels())).toMatchObject({ share: 0, mean: 0 });
  });
});

describe("the step of a run by that of all", () => {
  it("is the last one that is not after it", () => {
    expect([0, 5, 19, 20, 99].map((step) => stepAt([5, 20], step))).toEqual([null, 5, 5, 20, 20]);
    expect(stepAt([], 3)).toBeNull();
  });
});
