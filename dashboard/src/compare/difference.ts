/** What tells runs apart: parameters, environment, tags, properties and metrics, row by row. */
import { definitions } from "../lib/definitions.svelte";
import { bestPlaces, goalOfStat } from "../lib/goal";
import { toNumber, type Run, Kind } from "../lib/types";
import { environmentFacts, parametersOf } from "../run/facts";

interface Row {
  /** Where it comes from: parameter, environment, tag, property, run, metric. */
  kind: string;
  name: string;
  values: (string | number | null)[];
  differs: boolean;
}

function valuesOf(run: Run): Map<string, [kind: string, name: string, value: string | number | null]> {
  const facts = new Map<string, [string, string, string | number | null]>();
  const put = (kind: string, name: string, value: string | number | null) =>
    facts.set(`${kind}\n${name}`, [kind, name, value]);
  for (const name of ["status", "type", "target", "experiment", "description"] as const)
    put("run", name, run[name]);
  for (const [key, value] of parametersOf(run)) put("parameter", key, value);
  for (const [key, value] of environmentFacts(run)) put("environment", key, value);
  for (const [key, value] of Object.entries(run.tags)) put("tag", key, value ?? "✓");
  for (const [key, value] of Object.entries(run.properties)) put("property", key, value ?? "✓");
  for (const [name, summary] of Object.entries(run.summaries ?? {})) {
    if (summary.kind === Kind.text) put("metric last", name, summary.text);
    else if (summary.kind === Kind.bool && summary.count === 1)
      put("metric last", name, toNumber(summary.last) ? "true" : "false");
    else {
      put("metric last", name, toNumber(summary.last));
      if (summary.count > 1) {
        put("metric min", name, toNumber(summary.min));
        put("metric max", name, toNumber(summary.max));
      }
    }
  }
  return facts;
}

const ORDER = [
  "run",
  "parameter",
  "environment",
  "tag",
  "property",
  "metric last",
  "metric min",
  "metric max",
];

/** A row for each thing any of the runs has; a run without it has null there. */
export function differences(runs: readonly Run[]): Row[] {
  const each = runs.map(valuesOf);
  const keys = new Map<string, [string, string]>();
  for (const values of each) for (const [key, [kind, name]] of values) keys.set(key, [kind, name]);
  return [...keys.entries()]
    .map(([key, [kind, name]]) => {
      const values = each.map((held) => held.get(key)?.[2] ?? null);
      return { kind, name, values, differs: values.some((value) => !Object.is(value, values[0])) };
    })
    .sort((a, b) => {
      const metric = Number(a.kind.startsWith("metric")) - Number(b.kind.startsWith("metric"));
      if (metric) return metric;
      return a.kind.startsWith("metric")
        ? a.name.localeCompare(b.name) || ORDER.indexOf(a.kind) - ORDER.indexOf(b.kind)
        : ORDER.indexOf(a.kind) - ORDER.indexOf(b.kind) || a.name.localeCompare(b.name);
    });
}

/** The change from the baseline in per cent; null where there is none to speak of. */
export function delta(
  value: string | number | null,
  base: string | number | null | undefined,
): number | null {
  if (
    typeof value !== "number" ||
    typeof base !== "number" ||
    !Number.isFinite(value) ||
    !Number.isFinite(base) ||
    base === 0
  )
    return null;
  return ((value - base) / Math.abs(base)) * 100;
}

/** Which runs hold the best of a row, where a good end is known: the least of a loss, the greatest of an accuracy. */
export function bestOf(row: Row): Set<number> {
  if (!row.kind.startsWith("metric ")) return new Set();
  const goal = goalOfStat(definitions().goal(row.name), row.kind.slice("metric ".length));
  return new Set(
    goal
      ? bestPlaces(
          row.values.map((value) => (typeof value === "number" ? value : null)),
          goal,
        )
      : [],
  );
}

/** The rows as CSV, a column for each run. */
export function differencesCsv(rows: readonly Row[], names: readonly string[]): string {
  const quote = (value: string) => (/[",\n\r]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  const lines = rows.map((row) => [
    row.kind,
    row.name,
    ...row.values.map((value) => (value === null ? "" : String(value))),
  ]);
  return (
    [["kind", "name", ...names], ...lines].map((line) => line.map(quote).join(",")).join("\r\n") + "\r\n"
  );
}
