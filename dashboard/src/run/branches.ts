/** How a run branches, as lines of a small picture: one for each branch, along the steps. */
import type { Branches } from "../lib/types";

interface BranchLine {
  kind: "parent" | "run" | "former" | "fork";
  /** Steps between which the branch is a line of its own. */
  from: number;
  to: number;
  /** The line it comes from. */
  off: number;
}

/** The lines, from the top: the run this one was forked from, the run, its former branches, its forks. */
export function branchLines(branches: Branches, last: number): BranchLine[] {
  const lines: BranchLine[] = [];
  const origin = branches.forked_from;
  const begin = origin?.step ?? 0;
  const end = Math.max(last, begin, ...branches.rewinds.map((rewind) => rewind.step), 1);
  const furthest = Math.max(end, ...branches.rewinds.map((rewind) => rewind.last_step ?? 0));
  if (origin) lines.push({ kind: "parent", from: 0, to: furthest, off: 0 });
  const own = lines.length;
  lines.push({ kind: "run", from: origin ? begin : 0, to: end, off: 0 });
  for (const rewind of branches.rewinds)
    if (rewind.points)
      lines.push({
        kind: "former",
        from: Math.max(rewind.step, 0),
        to: Math.max(rewind.last_step ?? rewind.step, rewind.step),
        off: own,
      });
  for (const fork of branches.forks.slice(0, MOST_DRAWN))
    lines.push({
      kind: "fork",
      from: Math.min(Math.max(fork.step ?? 0, 0), furthest),
      to: furthest,
      off: own,
    });
  return lines;
}

/** Forks in the picture; the list below it has all. */
export const MOST_DRAWN = 20;
