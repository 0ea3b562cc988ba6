import { expect, test } from "vitest";
import { conditionOf, ruleOf, spanOf, typedOf } from "../src/alerts/rule";
import type { AlertRule } from "../src/lib/types";

const RULE: AlertRule = {
  name: "r",
  workspace: "w",
  experiment: null,
  kind: "failed",
  metric: null,
  comparison: null,
  threshold: null,
  seconds: null,
  level: "ERROR",
  receivers: ["mail"],
  wait_seconds: 300,
  enabled: true,
  created_utc: "2026-01-01T00:00:00Z",
  created_by: "ada",
};

test.each([
  [{}, "the run failed"],
  [{ kind: "ended" }, "the run ended"],
  [{ kind: "metric", metric: "loss", comparison: ">=", threshold: 1.5 }, "loss >= 1.5"],
  [{ kind: "nan" }, "any metric is not finite"],
  [{ kind: "nan", metric: "loss" }, "loss is not finite"],
  [{ kind: "silent", seconds: 600 }, "no new point of any metric for 10 min"],
  [{ kind: "alert", level: "INFO" }, "the run gave an alert"],
  [{ kind: "alert", level: "WARN" }, "the run gave an alert, WARN or more"],
] as [Partial<AlertRule>, string][])("a rule is said in words: %j", (part, words) => {
  expect(conditionOf({ ...RULE, ...part })).toBe(words);
});

test("spans are said in the unit that divides them", () => {
  expect([5, 60, 90, 7200, 86400, 0].map(spanOf)).toEqual(["5 s", "1 min", "90 s", "2 h", "1 d", "0 s"]);
});

test("what a form holds is the rule it was opened with", () => {
  const silent: AlertRule = { ...RULE, kind: "silent", seconds: 90, experiment: "e" };
  for (const rule of [RULE, silent]) {
    const { kind, receivers, experiment, metric, comparison, threshold, seconds, level } = rule;
    const { wait_seconds, enabled } = rule;
    const body = {
      kind,
      receivers,
      experiment,
      metric,
      comparison,
      threshold,
      seconds,
      level,
      wait_seconds,
      enabled,
    };
    expect(ruleOf(typedOf(rule))).toEqual(body);
  }
});

test("a new rule takes only the fields of its kind, and numbers are numbers", () => {
  const typed = { ...typedOf(null), metric: " loss ", threshold: "0.5" };
  expect(ruleOf(typed)).toMatchObject({
    kind: "failed",
    metric: null,
    threshold: null,
    seconds: null,
    level: null,
  });
  expect(ruleOf({ ...typed, kind: "metric" })).toMatchObject({
    metric: "loss",
    comparison: ">",
    threshold: 0.5,
  });
  expect(() => ruleOf({ ...typed, kind: "metric", threshold: "" })).toThrow("Value: type a number.");
  expect(() => ruleOf({ ...typed, waitMinutes: "soon" })).toThrow("Wait: type a number.");
});
