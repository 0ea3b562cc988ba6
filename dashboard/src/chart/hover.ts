/** Where the pointer is in any chart: the same x is shown in all of them, and the nearest run stands out everywhere. */

import type { Axis } from "./frame";

export interface Hover {
  x: number;
  axis: Axis;
  /** The run or the group. */
  who: string | null;
  /** The chart the pointer is in. */
  from: symbol;
}

type Listener = (hover: Hover | null) => void;
const listeners = new Set<Listener>();
let next: Hover | null = null;
let scheduled = false;

export function setHover(hover: Hover | null): void {
  next = hover;
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => {
    scheduled = false;
    for (const listener of listeners) listener(next);
  });
}

export function onHover(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
