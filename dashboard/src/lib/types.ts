/** What the HTTP API answers: types of generated/openapi.d.ts, which npm run check makes of the server's declarations. */
import type { RunRecord, SummaryRecord } from "../../generated/openapi";

export type {
  Access,
  AlertRecord,
  Branches,
  Note,
  NoteBody as NewNote,
  NoteVersion,
  ReceiverRecord as AlertReceiver,
  RuleBody as NewAlertRule,
  RuleRecord as AlertRule,
  RunAlert,
  Experiment,
  HistogramRecord,
  Importance,
  MediumRecord,
  MetricName,
  RunEditBody as RunEdit,
  RunFile,
  RunPage,
  RunParams,
  RunRecord as Run,
  SavedView,
  SeriesRecord as SeriesSummary,
  SnapshotDetails,
  StatusCounts,
  SummaryRecord as Summary,
  TableRows as TablePage,
  TagChanges,
  WouldDelete,
} from "../../generated/openapi";

export type Status = RunRecord["status"];

/** NaN and infinities come as the strings NaN, Infinity and -Infinity. */
type ApiNumber = SummaryRecord["last"];

export type Stat = "last" | "min" | "max" | "mean" | "first" | "count";

/** Classes of series, as runstream_schemas.series.SeriesClass. */
export const SeriesClass = {
  metric: 0,
  table: 1,
  image: 2,
  confusionMatrix: 3,
  accuracyTable: 4,
  residuals: 5,
  predictions: 6,
  histogram: 7,
  media: 8,
  system: 9,
  former: 10,
} as const;

/** Whether series of a class are JSON documents that Curves.svelte draws. */
export function isCurves(cls: number): boolean {
  return cls >= SeriesClass.confusionMatrix && cls <= SeriesClass.predictions;
}

/** Kinds of values, as runstream_schemas.series.Kind. */
export const Kind = { float: 0, int: 1, bool: 2, text: 3, null: 4 } as const;

/** The server's number as JavaScript has it; null stays null. */
export function toNumber(value: ApiNumber | undefined): number | null {
  return value === null || value === undefined ? null : Number(value);
}
