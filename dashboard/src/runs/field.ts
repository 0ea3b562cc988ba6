/** A field through scattered values: what a contour plot shows between its runs. */

/** Places and values from 0 to 1. */
export interface Sample {
  x: number;
  y: number;
  value: number;
}

interface Field {
  columns: number;
  rows: number;
  /** Row by row, the lowest first; NaN where no sample is near. */
  values: Float64Array;
  /** How far a sample reaches: its weight is 1/e there. */
  width: number;
}

/** Fewer runs make no field. */
export const FEWEST = 8;
const NEAREST_WEIGHT = Math.exp(-4); // of the nearest sample, two widths away
const NARROWEST = 0.05;

/**
 * The mean of the samples at each point of a grid, weighted by a Gaussian of their distance. Its width goes with their number, so that
 * each point has several. Samples at one place count as their mean; where none is within two widths there is nothing.
 */
export function fieldOf(samples: readonly Sample[], columns: number, rows: number): Field {
  const width = Math.max(NARROWEST, 0.7 / Math.sqrt(Math.max(1, samples.length)));
  const values = new Float64Array(columns * rows);
  const reach = (3 * width) ** 2;
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) {
      const [x, y] = [column / (columns - 1), row / (rows - 1)];
      let [weights, sum, most] = [0, 0, 0];
      for (const sample of samples) {
        const far = (sample.x - x) ** 2 + (sample.y - y) ** 2;
        if (far > reach) continue;
        const weight = Math.exp(-far / width ** 2);
        weights += weight;
        sum += weight * sample.value;
        if (weight > most) most = weight;
      }
      values[row * columns + column] = most >= NEAREST_WEIGHT ? sum / weights : NaN;
    }
  return { columns, rows, values, width };
}

type Corner = readonly [x: number, y: number, value: number];

/** Visit the squares between the points of the grid all of whose corners have a value. */
function squares(field: Field, visit: (corners: readonly [Corner, Corner, Corner, Corner]) => void): void {
  const { columns, rows, values } = field;
  const corner = (column: number, row: number): Corner => [
    column / (columns - 1),
    row / (rows - 1),
    values[row * columns + column]!,
  ];
  for (let row = 0; row + 1 < rows; row++)
    for (let column = 0; column + 1 < columns; column++) {
      const corners = [
        corner(column, row),
        corner(column + 1, row),
        corner(column + 1, row + 1),
        corner(column, row + 1),
      ] as const;
      if (!corners.some(([, , value]) => Number.isNaN(value))) visit(corners);
    }
}

/** The path of all places between two values, in the places given by `x` and `y`: each square is cut where the values pass. */
export function bandPath(
  field: Field,
  low: number,
  high: number,
  x: (place: number) => number,
  y: (place: number) => number,
): string {
  let path = "";
  squares(field, (corners) => {
    const all = corners.map((corner) => corner[2]);
    if (Math.max(...all) < low || Math.min(...all) >= high) return;
    const cut = clipped(clipped(corners, low, 1), high, -1);
    if (cut.length > 2)
      path += `M${cut.map((corner) => `${x(corner[0]).toFixed(1)} ${y(corner[1]).toFixed(1)}`).join("L")}Z`;
  });
  return path;
}

/** A polygon without what lies below (`side` 1) or above (-1) a value. */
function clipped(corners: readonly Corner[], level: number, side: 1 | -1): Corner[] {
  const kept: Corner[] = [];
  for (const [at, corner] of corners.entries()) {
    const next = corners[(at + 1) % corners.length]!;
    const [here, there] = [(corner[2] - level) * side, (next[2] - level) * side];
    if (here >= 0) kept.push(corner);
    if (here * there < 0) {
      const part = here / (here - there);
      const between = (index: 0 | 1 | 2) => corner[index] + part * (next[index] - corner[index]);
      kept.push([between(0), between(1), level]);
    }
  }
  return kept;
}
