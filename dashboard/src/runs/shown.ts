/** What a list of runs shows: its columns, what the server is asked for them, and what it can be sorted by. */
import type { RunsQuery } from "../lib/endpoints";
import { cutMiddle } from "../lib/format";
import type { Run } from "../lib/types";
import { columnOf, readColumns, type Column } from "./columns";
import { tellingLabels, tellingMetrics } from "./telling";
import type { Goal } from "./tree";

export const NEWEST = "-start_time";
const USUAL = innerWidth > 1800 ? 8 : 4; // metrics, where no columns were chosen
const LABELS = 4; // parameters and tags, likewise
const LOOKED_AT = 12; // metrics of which these are taken

/** Columns of a list that is on its way. */
export const STARTING: readonly string[] = ["status", "started", "duration"];

/** What a list says of its runs, for choosing columns by itself. */
interface Telling {
  /** Metrics the runs in sight have in common. */
  common: readonly string[];
  runs: readonly Run[];
  goal: Goal | null;
}

/** The columns of a list for which none were chosen: what it is sorted by, and what tells its runs apart. */
export function tellingColumns({ common, runs, goal }: Telling, order: string): string[] {
  const sorted = /^-?metric:(.+):(\w+)$/s.exec(order);
  const ids = ["status"];
  if (new Set(runs.map((run) => run.experiment)).size > 1) ids.push("experiment");
  if (sorted) ids.push(`${sorted[1]}.${sorted[2]}`);
  else if (/^-?(tag|property|param):/.test(order)) ids.push(order.replace(/^-/, ""));
  const metrics = common.filter((name) => name !== sorted?.[1]);
  ids.push(...tellingMetrics(runs, metrics, goal, USUAL), ...tellingLabels(runs, LABELS));
  return [...new Set([...ids, ...STARTING])];
}

/** The columns of the address, or the others. */
export function shownColumns(chosen: string | null, telling: readonly string[]): Column[] {
  return chosen ? readColumns(chosen) : telling.map((id) => columnOf(id)!);
}

/** Which summaries the columns need. Without chosen columns the list says which metrics the runs in sight have. */
export function neededSummaries(chosen: string | null, order: string): RunsQuery {
  const sorted = /^-?metric:(.+):\w+$/s.exec(order);
  if (!chosen) return { summary: sorted ? [sorted[1]!] : [], summary_common: LOOKED_AT };
  return {
    summary: [
      ...new Set(
        readColumns(chosen)
          .map((column) => column.metric)
          .filter(Boolean),
      ),
    ],
  };
}

/** Orders and their titles, for a narrow screen: it has no heads of columns to click. */
export function sortsOf(columns: readonly Column[], order: string): [string, string][] {
  const all: [string, string][] = [
    [NEWEST, "newest first"],
    ["start_time", "oldest first"],
  ];
  for (const column of columns.filter((item) => item.order && item.order !== "start_time")) {
    const title = cutMiddle(column.sub ? `${column.title} ${column.sub}` : column.title.toLowerCase(), 28);
    all.push([column.order, `${title} ↑`], [`-${column.order}`, `${title} ↓`]);
  }
  return all.some(([value]) => value === order) ? all : [...all, [order, order]];
}
