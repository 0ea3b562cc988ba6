/** The line a table draws: its first two columns of numbers, the one over the other. */
import type { Pair } from "../chart/PairChart.svelte";
import type { TablePage } from "../lib/types";

interface TableLine {
  x: string;
  y: string;
  points: Pair[];
}

const KEYS = 2; // row and time stand before the table's own columns

export function lineOf(page: Pick<TablePage, "columns" | "rows">): TableLine | null {
  const numeric = page.columns
    .map((column, i) => ({ ...column, i }))
    .filter((column, i) => i >= KEYS && /int|double|float/.test(column.type));
  const [x, y] = numeric;
  if (!x || !y || page.rows.length < 2) return null;
  const points = page.rows.map((row) => ({ x: Number(row[x.i] ?? NaN), y: Number(row[y.i] ?? NaN) }));
  return { x: x.name, y: y.name, points };
}
