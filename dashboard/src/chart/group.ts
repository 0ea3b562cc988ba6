/** The mean of several runs at each bucket, and how far they lie apart. */
import type { Line } from "./frame";

/**
 * A line of means, its band one standard deviation wide each way. Buckets have the same edges in all runs, so that no run is
 * interpolated; a bucket's mean is over the members that have a value there, and `n` says how many these are.
 */
export function meanOf(id: string, members: readonly Line[], bucket: number): Line {
  const found = new Map<
    number,
    { x: number; n: number; mean: number; squares: number; smooth: number; marks: number }
  >();
  for (const line of members) {
    for (let i = 0; i < line.x.length; i++) {
      const key = Math.floor(line.x[i]! / bucket);
      let held = found.get(key);
      if (!held) found.set(key, (held = { x: -Infinity, n: 0, mean: 0, squares: 0, smooth: 0, marks: 0 }));
      held.x = Math.max(held.x, line.x[i]!);
      held.marks |= line.marks?.[i] ?? 0;
      const value = line.last[i]!;
      if (!Number.isFinite(value)) continue;
      // Welford: a variance far from zero keeps its digits.
      held.n += 1;
      const away = value - held.mean;
      held.mean += away / held.n;
      held.squares += away * (value - held.mean);
      held.smooth += line.smooth?.[i] ?? value;
    }
  }
  const buckets = [...found.values()].sort((a, b) => a.x - b.x);
  const column = (of: (one: (typeof buckets)[number]) => number) => Float64Array.from(buckets, of);
  const spread = (one: (typeof buckets)[number]) => (one.n > 1 ? Math.sqrt(one.squares / (one.n - 1)) : 0);
  const mean = (one: (typeof buckets)[number]) => (one.n ? one.mean : NaN);
  return {
    runId: id,
    x: column((one) => one.x),
    last: column(mean),
    low: column((one) => mean(one) - spread(one)),
    high: column((one) => mean(one) + spread(one)),
    smooth: members.some((line) => line.smooth) ? column((one) => (one.n ? one.smooth / one.n : NaN)) : null,
    marks: members.some((line) => line.marks) ? Uint8Array.from(buckets, (one) => one.marks) : null,
    n: Uint32Array.from(buckets, (one) => one.n),
    points: members.reduce((sum, line) => sum + line.points, 0),
    total: members.reduce((sum, line) => sum + line.total, 0),
  };
}
