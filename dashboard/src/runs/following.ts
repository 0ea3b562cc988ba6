/** How often a list that follows its runs looks at them again. */
const PAUSE = 400; // milliseconds between two looks

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
    await look(front);
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
    busy = false;
    void next();
  }
  return (front) => {
    waiting = { front: front || (waiting?.front ?? false) };
    void next();
  };
}
