/** What runs say of their metrics: whose word counts, and what charts and lists make of it. */
import { describe, expect, test } from "vitest";
import { commonAxis, definedAxis } from "../src/chart/layout";
import { definedBy, Definitions, learn } from "../src/lib/definitions.svelte";
import type { Run } from "../src/lib/types";
import { tellingMetrics } from "../src/runs/telling";

function said(metric_definitions: unknown, created_utc = "2026-01-01T00:00:00Z"): Run {
  return { details: { metric_definitions }, created_utc } as unknown as Run;
}

const known = new Definitions(
  definedBy([
    said({
      "*": { summary: ["none"] },
      "val/*": { step_metric: "epoch", summary: ["best"], goal: "max" },
      "val/loss": { step_metric: "epoch", goal: "min", summary: ["mean", "last"] },
      "val/loss/deep": { summary: ["odd"] },
    }),
  ]),
);

describe("definitions", () => {
  test("a metric's own name counts before the longest beginning", () => {
    expect(["val/acc", "val/loss", "val/loss/deep", "width", "epoch"].map((n) => known.stat(n))).toEqual([
      "max",
      "mean",
      undefined,
      null,
      undefined,
    ]);
    expect(["val/acc", "val/loss", "train/loss", "width"].map((n) => known.goal(n))).toEqual([
      "max",
      "min",
      "min",
      null,
    ]);
    expect(["val/acc", "epoch", "width"].map((n) => known.step(n))).toEqual(["epoch", null, null]);
  });

  test("the newer run counts, field by field; what cannot be is passed over", () => {
    const runs = [
      said({ a: { goal: "max" }, __proto__x: { goal: "min" } }, "2026-02-02"),
      said({
        a: { goal: "min", step_metric: "t" },
        b: null,
        c: { goal: 7, summary: "min", step_metric: {} },
      }),
      said(["x"]),
      said(JSON.parse('{"__proto__": {"goal": "min"}}')),
      said(undefined),
    ];
    const defined = definedBy(runs);
    expect(defined.a).toEqual({ goal: "max", step_metric: "t" });
    expect([defined.b, defined.c]).toEqual([{}, {}]);
    expect(new Definitions(defined).goal("__proto__")).toBe("min");
    expect(({} as Record<string, unknown>).goal).toBeUndefined();
  });

  test("x of a chart: common to its metrics, there, and not itself", () => {
    const names = new Set(["epoch", "val/acc", "val/loss", "train/loss"]);
    const axis = (metrics: string[], of = names) => definedAxis(metrics, known, of);
    expect(axis(["val/acc"])).toBe("metric:epoch");
    expect(axis(["epoch"])).toBe("step");
    expect(axis(["val/acc", "val/loss"])).toBe("metric:epoch");
    expect(axis(["val/acc", "train/loss"])).toBe("step");
    expect(axis(["val/acc"], new Set(["val/acc"]))).toBe("step");
    expect(commonAxis(["epoch", "val/acc", "val/loss"], known)).toBe("metric:epoch");
    expect(commonAxis(["epoch", "val/acc", "x", "y"], known)).toBe("step");
    expect(commonAxis([], known)).toBe("step");
  });

  test("columns show what counts, and not what does not", () => {
    const summary = (last: number) => ({ kind: 0, last });
    const runs = [1, 2].map((k) => ({
      ...said({ "val/acc": { summary: ["best"], goal: "max" }, noise: { summary: ["none"] } }),
      summaries: { "val/acc": summary(k), noise: summary(k), "train/loss": summary(k) },
    })) as unknown as Run[];
    learn(runs);
    expect(tellingMetrics(runs, ["noise", "train/loss", "val/acc"], null, 9)).toEqual([
      "val/acc.max",
      "train/loss.last",
    ]);
    learn([]);
    expect(tellingMetrics(runs, ["noise", "val/acc"], null, 9)).toEqual(["val/acc.last", "noise.last"]);
  });
});
