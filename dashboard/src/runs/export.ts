/** Runs as files people take along. */
import { queryString, type Params } from "../lib/api";
import type { Column } from "./columns";

export type Format = "csv" | "parquet";

/** Have the browser keep what was made here. */
export function keepFile(content: BlobPart, type: string, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

/** What the server calls a column of the table. */
export function exportColumn(column: Column): string {
  if (column.metric) return `metric:${column.metric}:${column.sub}`;
  if (column.id === "id") return "run_id";
  return column.id === "started" ? "start_time" : column.id;
}

/** The address of a list of runs as a file, with the table's columns; the server makes it while it is sent. */
export function runsAddress(format: Format, query: Params, columns: readonly Column[]): string {
  const ids = ["run_id", "display_name", ...columns.map(exportColumn)];
  return `/api/v1/export/runs${queryString({ ...query, summary: null, format, column: [...new Set(ids)] })}`;
}

/** The address of all points of some runs as a file. */
export function pointsAddress(format: Format, ids: readonly string[]): string {
  return `/api/v1/export/points${queryString({ run: ids, format })}`;
}
