/** Runs as files people take along. */
import { address, type RunsQuery } from "../lib/endpoints";
import type { Column } from "./columns";

type Format = "csv" | "parquet";

/** Have the browser keep what was made here. */
export function keepFile(content: BlobPart, type: string, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

/** What the server calls a column of the table. */
function exportColumn(column: Column): string {
  if (column.metric) return `metric:${column.metric}:${column.sub}`;
  if (column.id === "id") return "run_id";
  return column.id === "started" ? "start_time" : column.id;
}

/** The address of a list of runs as a file, with the table's columns; the server makes it while it is sent. */
export function runsAddress(format: Format, query: RunsQuery, columns: readonly Column[]): string {
  const ids = ["run_id", "display_name", ...columns.map(exportColumn)];
  const { summary: _, summary_common: __, ...runs } = query;
  return address("/api/v1/export/runs", { ...runs, format, column: [...new Set(ids)] });
}

/** The address of all points of some runs as a file. */
export function pointsAddress(format: Format, ids: readonly string[]): string {
  return address("/api/v1/export/points", { run: ids, format });
}
