/** How the cards of a section fill the width there is. */
interface Fit {
  /** Columns of the CSS grid; a card spans several where the last row holds fewer cards than the others. */
  tracks: number;
  /** Cards of a full row. */
  columns: number;
  /** Columns of the grid that the card at a place spans. */
  span: (place: number) => number;
}

const GAP = 8;

/**
 * As many columns as fit, but no more than make the rows alike: five cards where four fit are rows of three and two, and the two fill
 * theirs.
 *
 * `least`: how narrow a card may be, in pixels; `columns`: how many somebody asked for, 0: as fit.
 */
export function fit(cards: number, width: number, least: number, columns = 0): Fit {
  const most = columns || Math.max(1, Math.floor((width + GAP) / (least + GAP)));
  const rows = Math.max(1, Math.ceil(cards / most));
  const full = Math.max(1, columns || Math.ceil(cards / rows));
  const rest = cards % full;
  if (!rest || columns) return { tracks: full, columns: full, span: () => 1 };
  const tracks = (full * rest) / divisor(full, rest);
  return {
    tracks,
    columns: full,
    span: (place) => (place < cards - rest ? tracks / full : tracks / rest),
  };
}

function divisor(a: number, b: number): number {
  return b ? divisor(b, a % b) : a;
}
