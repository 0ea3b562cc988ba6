/** How often a list that follows its runs looks at them again. */
const PAUSE = 500; // milliseconds between two looks; more where they take longer

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
