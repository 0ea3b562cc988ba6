/** What a list of runs shows: its columns, what the server is asked for them, and what it can be sorted by. */
import type { RunsQuery } from "../lib/endpoints";
import { cutMiddle } from "../lib/format";
import { columnOf, DEFAULT_COLUMNS, readColumns, type Column } from "./columns";

export const NEWEST = "-start_time";
const USUAL = innerWidth > 1800 ? 8 : 4; // metrics, where no columns were chosen

/**
 * The columns of the address. Of a list for which none were chosen: the usual ones, what it is sorted by, and the
 * metrics that the runs in sight have.
 */
export function shownColumns(
  chosen: string | null,
  order: string,
  withExperiment: boolean,
  common: readonly string[],
): Column[] {
  if (chosen) return readColumns(chosen);
  const ids = [...DEFAULT_COLUMNS.filter((id) => id !== "experiment" || withExperiment)];
  const sorted = /^-?metric:(.+):(\w+)$/s.exec(order);
  if (sorted) ids.push(`${sorted[1]}.${sorted[2]}`);
  else if (/^-?(tag|property|param):/.test(order)) ids.push(order.replace(/^-/, ""));
  for (const name of common) if (name !== sorted?.[1]) ids.push(`${name}.last`);
  return ids.map((id) => columnOf(id)!);
}

/** Which summaries the columns need. Without chosen columns the list says which metrics the runs in sight have. */
export function neededSummaries(chosen: string | null, order: string): RunsQuery {
  const sorted = /^-?metric:(.+):\w+$/s.exec(order);
  if (!chosen) return { summary: sorted ? [sorted[1]!] : [], summary_common: USUAL };
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
