/** How often a list that follows its runs looks at them again. */
import { hasEnded } from "../lib/status";
import type { Run } from "../lib/types";

const PAUSE = 500; // milliseconds between two looks; more where they take longer
const MOST = 1000; // runs the server gives at once

/**
 * Whoever is told of changes, and looks again: at most one look is under way and one waiting.
 *
 * `front`: also for runs that came or ended, not just at those in sight.
 */
export function following(look: (front: boolean) => Promise<void>): (front: boolean) => void {
  let waiting: { front: boolean } | null = null;
  let busy = false;
  async function next(): Promise<void> {
    if (busy || !waiting) return;
    const { front } = waiting;
    waiting = null;
    busy = true;
    const began = performance.now();
    await look(front);
    const pause = Math.max(PAUSE, 2 * (performance.now() - began));
    await new Promise((resolve) => setTimeout(resolve, pause));
    busy = false;
    void next();
  }
  return (front) => {
    waiting = { front: front || (waiting?.front ?? false) };
    void next();
  };
}

/** The rows in sight and every run that may still change: sweep charts are of those, too. */
export function withActive(
  shown: readonly string[],
  runs: readonly Pick<Run, "run_id" | "status" | "settled">[],
): string[] {
  const active = runs.filter((run) => !run.settled || !hasEnded(run.status));
  return [...new Set([...shown, ...active.map((run) => run.run_id)])].slice(0, MOST);
}
