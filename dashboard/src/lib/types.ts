/** What the HTTP API answers. NaN and infinities come as the strings NaN, Infinity and -Infinity. */
export type ApiNumber = number | "NaN" | "Infinity" | "-Infinity" | null;

export type Stat = "last" | "min" | "max" | "mean" | "first" | "count";

export interface Summary {
  cls: number;
  kind: number;
  count: number;
  first: ApiNumber;
  last: ApiNumber;
  min: ApiNumber;
  max: ApiNumber;
  mean: ApiNumber;
  last_step: number | null;
  last_time: number;
  text: string | null;
}

export interface SeriesSummary extends Summary {
  name: string;
  column: string;
}

export interface Run {
  run_id: string;
  number: number | null;
  experiment: string | null;
  workspace: string | null;
  parent_run_id: string | null;
  root_run_id: string | null;
  name: string | null;
  display_name: string | null;
  description: string | null;
  type: string | null;
  target: string | null;
  status: string;
  created_utc: string;
  start_time_utc: string | null;
  end_time_utc: string | null;
  last_seen_utc: string | null;
  archived_utc: string | null;
  error: Record<string, unknown> | null;
  warnings: unknown[];
  details: Record<string, unknown>;
  tags: Record<string, string | null>;
  properties: Record<string, string | null>;
  dropped: number;
  gaps: number;
  settled: boolean;
  summaries?: Record<string, Summary>;
}

export interface RunPage {
  runs: Run[];
  next: string | null;
  metrics?: string[];
  count?: Record<string, number>;
}

export interface RunFile {
  path: string;
  size: number;
  sha256: string;
  created_utc: string;
}

export interface Experiment {
  id: number;
  name: string;
  workspace: string;
  description: string | null;
  created_utc: string;
  archived_utc: string | null;
  tags: Record<string, string | null>;
  runs: number;
}

export interface StatusCounts {
  statuses: Record<string, number>;
  newest_utc: string | null;
}

export interface TablePage {
  columns: { name: string; type: string }[];
  rows: unknown[][];
  total: number;
}

/** Classes of series, as runstream_schemas.series.SeriesClass. */
export const SeriesClass = {
  metric: 0,
  table: 1,
  image: 2,
  confusionMatrix: 3,
  accuracyTable: 4,
  residuals: 5,
  predictions: 6,
} as const;

/** Kinds of values, as runstream_schemas.series.Kind. */
export const Kind = { float: 0, int: 1, bool: 2, text: 3, null: 4 } as const;

/** The server's number as JavaScript has it; null stays null. */
export function toNumber(value: ApiNumber | undefined): number | null {
  return value === null || value === undefined ? null : Number(value);
}
