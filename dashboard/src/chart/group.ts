/** The mean of several runs at each bucket, and how far they lie apart. */
import type { Line } from "./frame";

/**
 * A line of means, its band one standard deviation wide each way. Buckets have the same edges in all runs, so that no run is
 * interpolated; a bucket's mean is over the members that have a value there, and `n` says how many these are.
 */
export function meanOf(id: string, members: readonly Line[], bucket: number): Line {
  const byBucket = new Map<
    number,
    { x: number; n: number; mean: number; squares: number; smooth: number; marks: number }
  >();
  for (const line of members) {
    for (let i = 0; i < line.x.length; i++) {
      const key = Math.floor(line.x[i]! / bucket);
      let entry = byBucket.get(key);
      if (!entry)
        byBucket.set(key, (entry = { x: -Infinity, n: 0, mean: 0, squares: 0, smooth: 0, marks: 0 }));
      entry.x = Math.max(entry.x, line.x[i]!);
      entry.marks |= line.marks?.[i] ?? 0;
      const value = line.last[i]!;
      if (!Number.isFinite(value)) continue;
      // Welford: a variance far from zero keeps its digits.
      entry.n += 1;
      const away = value - entry.mean;
      entry.mean += away / entry.n;
      entry.squares += away * (value - entry.mean);
      entry.smooth += line.smooth?.[i] ?? value;
    }
  }
  const buckets = [...byBucket.values()].sort((a, b) => a.x - b.x);
  const column = (of: (entry: (typeof buckets)[number]) => number) => Float64Array.from(buckets, of);
  const spread = (entry: (typeof buckets)[number]) =>
    entry.n > 1 ? Math.sqrt(entry.squares / (entry.n - 1)) : 0;
  const mean = (entry: (typeof buckets)[number]) => (entry.n ? entry.mean : NaN);
  return {
    runId: id,
    x: column((entry) => entry.x),
    last: column(mean),
    low: column((entry) => mean(entry) - spread(entry)),
    high: column((entry) => mean(entry) + spread(entry)),
    smooth: members.some((line) => line.smooth)
      ? column((entry) => (entry.n ? entry.smooth / entry.n : NaN))
      : null,
    marks: members.some((line) => line.marks) ? Uint8Array.from(buckets, (entry) => entry.marks) : null,
    n: Uint32Array.from(buckets, (entry) => entry.n),
    points: members.reduce((sum, line) => sum + line.points, 0),
    total: members.reduce((sum, line) => sum + line.total, 0),
  };
}
