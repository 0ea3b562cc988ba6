/** Runs as files people take along. */
import type { Run } from "../lib/types";
import { toCsv, type Column } from "./columns";

/** Have the browser keep a file. */
export function keepFile(content: BlobPart, type: string, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

export function download(runs: readonly Run[], columns: readonly Column[]): void {
  keepFile(toCsv(runs, columns), "text/csv", "runs.csv");
}
