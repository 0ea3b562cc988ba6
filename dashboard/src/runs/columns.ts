/** Columns of the table of runs: of a run itself, of a metric's statistic, of a tag or a property. */
import { definitions } from "../lib/definitions.svelte";
import { bestPlaces, goalOfStat } from "../lib/goal";
import { formatAgo, formatDuration, formatNumber, runSeconds } from "../lib/format";
import { parametersOf } from "../run/facts";
import { toNumber, type Run, type RunEdit, type Stat, Kind } from "../lib/types";

export interface Column {
  /** As the address has it: `status`, `loss.min`, `tag:model`, `property:x`. */
  id: string;
  title: string;
  /** Under the title: which statistic. */
  sub: string;
  /** What the server sorts by; empty where it cannot. */
  order: string;
  metric: string;
  numeric: boolean;
  width: number;
}

const STATS: readonly Stat[] = ["last", "min", "max", "mean", "first", "count"];

const FIXED: Record<string, Omit<Column, "id" | "metric" | "sub">> = {
  status: { title: "Status", order: "status", numeric: false, width: 112 },
  experiment: { title: "Experiment", order: "experiment", numeric: false, width: 140 },
  number: { title: "Number", order: "number", numeric: true, width: 70 },
  started: { title: "Started", order: "start_time", numeric: true, width: 90 },
  duration: { title: "Duration", order: "duration", numeric: true, width: 90 },
  target: { title: "Target", order: "target", numeric: false, width: 110 },
  type: { title: "Type", order: "type", numeric: false, width: 110 },
  description: { title: "Description", order: "", numeric: false, width: 220 },
  id: { title: "Run id", order: "run_id", numeric: false, width: 270 },
  tags: { title: "Tags", order: "", numeric: false, width: 200 },
};

export const FIXED_COLUMNS = Object.keys(FIXED);

/** The column of an id; null: there is none of that name. */
export function columnOf(id: string): Column | null {
  const fixed = FIXED[id];
  if (fixed) return { id, metric: "", sub: "", ...fixed };
  if (/^(tag|property|param):./s.test(id)) {
    const at = id.indexOf(":");
    return {
      id,
      title: id.slice(at + 1),
      sub: id.slice(0, at),
      order: id,
      metric: "",
      numeric: false,
      width: 120,
    };
  }
  const at = id.lastIndexOf(".");
  const stat = id.slice(at + 1) as Stat;
  if (at <= 0 || !STATS.includes(stat)) return null;
  const metric = id.slice(0, at);
  return {
    id,
    title: metric,
    sub: stat,
    order: `metric:${metric}:${stat}`,
    metric,
    numeric: true,
    width: 110,
  };
}

/** The address' list of columns; a comma within a name is escaped. */
export function readColumns(text: string): Column[] {
  return text
    .split(",")
    .map((part) => columnOf(decodeURIComponent(part)))
    .filter((column) => column !== null);
}

export function writeColumns(ids: readonly string[]): string {
  return ids.map((id) => id.replaceAll("%", "%25").replaceAll(",", "%2C")).join(",");
}

/** The number of a metric's column, for comparing; null when there is none. */
export function cellNumber(run: Run, column: Column): number | null {
  const summary = run.summaries?.[column.metric];
  return summary ? toNumber(summary[column.sub as Stat]) : null;
}

/** For each metric's column of which a good end is known the run with the best value of those given. */
export function bestRuns(runs: readonly Run[], columns: readonly Column[]): Map<string, string> {
  const stars = new Map<string, string>();
  for (const column of columns) {
    const goal = column.metric ? goalOfStat(definitions().goal(column.metric), column.sub) : null;
    if (!goal) continue;
    const [best] = bestPlaces(
      runs.map((run) => cellNumber(run, column)),
      goal,
    );
    if (best !== undefined) stars.set(column.id, runs[best]!.run_id);
  }
  return stars;
}

/** Whether a column's cells can be edited in place; those of "tags" in the run's dialog. */
export function editable(column: Column): boolean {
  return column.sub === "tag" || column.id === "tags" || column.id === "description";
}

/** The text that is edited in a cell; `name` is the name's column. */
export function editText(run: Run, column: string): string {
  if (column === "name") return run.display_name ?? run.name ?? "";
  if (column === "description") return run.description ?? "";
  return run.tags[column.slice("tag:".length)] ?? "";
}

/** What an edited cell changes; null: nothing. An emptied tag is removed, an emptied name is the given one again. */
export function cellChanges(run: Run, column: string, typed: string): RunEdit | null {
  const value = typed.trim();
  if (value === editText(run, column)) return null;
  if (column === "name") return { display_name: value || null };
  if (column === "description") return { description: value || null };
  const key = column.slice("tag:".length);
  return { tags: value ? { set: { [key]: value } } : { remove: [key] } };
}

/** What stands in a cell. */
export function cellText(run: Run, column: Column, now: number): string {
  if (column.metric) {
    const summary = run.summaries?.[column.metric];
    if (!summary) return "–";
    if (summary.kind === Kind.text && column.sub === "last") return summary.text ?? "–";
    return formatValue(toNumber(summary[column.sub as Stat]), summary.kind, column.sub);
  }
  if (column.sub === "tag") return text(run.tags, column.title);
  if (column.sub === "property") return text(run.properties, column.title);
  if (column.sub === "param") return text(Object.fromEntries(parametersOf(run)), column.title);
  switch (column.id) {
    case "experiment":
      return run.experiment ?? "–";
    case "number":
      return run.number === null ? "–" : String(run.number);
    case "started":
      return formatAgo(run.start_time_utc, now);
    case "duration":
      return formatDuration(runSeconds(run, now));
    case "target":
      return run.target ?? "–";
    case "type":
      return run.type ?? "–";
    case "description":
      return run.description ?? "";
    case "id":
      return run.run_id;
    case "tags":
      return Object.entries(run.tags)
        .map(([key, value]) => (value === null || value === "" ? key : `${key}=${value}`))
        .join("  ");
    default:
      return "";
  }
}

/** A statistic of a metric of that kind: ints stay ints, booleans words. */
export function formatValue(value: number | null, kind: number, stat: string): string {
  if (value !== null && stat === "count") return value.toLocaleString("en");
  if (value !== null && stat !== "mean") {
    if (kind === Kind.int && Number.isSafeInteger(value)) return value.toLocaleString("en").replace("-", "−");
    if (kind === Kind.bool) return value ? "true" : "false";
  }
  return formatNumber(value);
}

function text(values: Record<string, string | null>, key: string): string {
  return key in values ? (values[key] ?? "✓") : "–";
}
