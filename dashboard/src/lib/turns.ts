/** Work that may wait, a piece at a time: the page stays quick to answer while many charts come into sight or change. */

const waiting = new Set<() => void>();
// A task of its own for each piece, what follows it in the same turn (uPlot draws so) included; timers of a chain wait longer.
const { port1, port2 } = new MessageChannel();
let running = false;

port1.onmessage = () => {
  for (const work of waiting) {
    waiting.delete(work);
    work();
    break;
  }
  running = waiting.size > 0;
  if (running) port2.postMessage(null);
};

/** Do `work` when its turn comes; what is returned takes it back. */
export function inTurn(work: () => void): () => void {
  waiting.add(work);
  if (!running) port2.postMessage(null);
  running = true;
  return () => waiting.delete(work);
}
