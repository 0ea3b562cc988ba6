/** Curves of a classifier from its table of counts at each threshold: [true +, false +, true −, false −]. */

interface Point {
  x: number;
  y: number;
}

export function rates(table: readonly (readonly number[])[]): { roc: Point[]; precisionRecall: Point[] } {
  const roc: Point[] = [];
  const precisionRecall: Point[] = [];
  for (const [tp = 0, fp = 0, tn = 0, fn = 0] of table) {
    const recall = tp + fn ? tp / (tp + fn) : 0;
    roc.push({ x: fp + tn ? fp / (fp + tn) : 0, y: recall });
    if (tp + fp) precisionRecall.push({ x: recall, y: tp / (tp + fp) });
  }
  const byX = (a: Point, b: Point) => a.x - b.x || a.y - b.y;
  return { roc: roc.sort(byX), precisionRecall: precisionRecall.sort(byX) };
}
