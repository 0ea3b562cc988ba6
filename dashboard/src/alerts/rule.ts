/** Alert rules as pages show and make them. */
import type { AlertRule, NewAlertRule } from "../lib/types";

type RuleKind = AlertRule["kind"];

/** What a rule of each kind tells of, in the order of the form. */
export const KINDS: readonly (readonly [kind: RuleKind, words: string])[] = [
  ["failed", "a run failed"],
  ["ended", "a run ended"],
  ["metric", "a metric passes a value"],
  ["nan", "a value is not finite"],
  ["silent", "no new points come"],
  ["alert", "a run gave an alert"],
];

/** When a rule tells, in words. */
export function conditionOf(rule: AlertRule): string {
  switch (rule.kind) {
    case "metric":
      return `${rule.metric} ${rule.comparison} ${rule.threshold}`;
    case "nan":
      return `${rule.metric ?? "any metric"} is not finite`;
    case "silent":
      return `no new point of ${rule.metric ?? "any metric"} for ${spanOf(rule.seconds ?? 0)}`;
    case "failed":
      return "the run failed";
    case "ended":
      return "the run ended";
    case "alert":
      return rule.level === "INFO" ? "the run gave an alert" : `the run gave an alert, ${rule.level} or more`;
  }
}

/** Seconds in the largest unit that divides them. */
export function spanOf(seconds: number): string {
  for (const [unit, size] of [
    ["d", 86400],
    ["h", 3600],
    ["min", 60],
  ] as const)
    if (seconds >= size && seconds % size === 0) return `${seconds / size} ${unit}`;
  return `${seconds} s`;
}

/** What is typed into the form. */
interface Typed {
  kind: RuleKind;
  experiment: string;
  metric: string;
  comparison: NonNullable<AlertRule["comparison"]>;
  threshold: string;
  minutes: string;
  level: string;
  receivers: string[];
  waitMinutes: string;
  enabled: boolean;
}

/** A form's beginning: a rule that is there, or the usual. */
export function typedOf(rule: AlertRule | null): Typed {
  return {
    kind: rule?.kind ?? "failed",
    experiment: rule?.experiment ?? "",
    metric: rule?.metric ?? "",
    comparison: rule?.comparison ?? ">",
    threshold: rule?.threshold == null ? "" : String(rule.threshold),
    minutes: rule?.seconds == null ? "10" : String(rule.seconds / 60),
    level: rule?.level ?? "",
    receivers: [...(rule?.receivers ?? [])],
    waitMinutes: String((rule?.wait_seconds ?? 300) / 60),
    enabled: rule?.enabled ?? true,
  };
}

/** The rule that is typed; throws what is wrong with it. */
export function ruleOf(typed: Typed): NewAlertRule {
  const { kind } = typed;
  const takesMetric = kind === "metric" || kind === "nan" || kind === "silent";
  return {
    kind,
    receivers: typed.receivers,
    experiment: typed.experiment.trim() || null,
    metric: (takesMetric && typed.metric.trim()) || null,
    comparison: kind === "metric" ? typed.comparison : null,
    threshold: kind === "metric" ? numberOf("Value", typed.threshold) : null,
    seconds: kind === "silent" ? 60 * numberOf("Minutes", typed.minutes) : null,
    level: typed.level === "" ? null : (typed.level as NonNullable<NewAlertRule["level"]>),
    wait_seconds: 60 * numberOf("Wait", typed.waitMinutes),
    enabled: typed.enabled,
  };
}

function numberOf(field: string, text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value)) throw new Error(`${field}: type a number.`);
  return value;
}
