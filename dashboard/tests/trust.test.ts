import { describe, expect, it } from "vitest";
import { sizeOf, trustOf } from "../src/runs/trust";

describe("what is said of importance", () => {
  it("warns where the parameters explain little or nothing", () => {
    expect([null, -2, 0.05, 0.2].map((r2) => trustOf(r2).warn)).toEqual([true, true, true, true]);
    expect([0.3, 0.9].map((r2) => trustOf(r2).warn)).toEqual([false, false]);
  });

  it("says which runs it rests on", () => {
    expect(sizeOf({ runs: 9, considered: 9, total: 9 })).toBe("9 runs");
    expect(sizeOf({ runs: 980, considered: 1000, total: 12000 })).toBe(
      "980 of 1,000 runs, the newest of 12,000",
    );
  });
});
