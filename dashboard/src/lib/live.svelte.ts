/**
 * Changes pushed by the server: one stream a tab, opened again with a growing pause when it breaks. The browser sends the id of the
 * last event it saw, so nothing is missed; when the server cannot tell what was, it says `reset` and everything is fetched anew.
 */

export interface Change {
  /** Run ids with new points; null: any run may have. */
  metrics?: string[] | null;
  tags?: string[] | null;
  status?: string[] | null;
  /** Anything may have changed. */
  reset?: boolean;
}

type Listener = (change: Change) => void;

export const connection = $state<{ live: boolean; lostAt: number | null }>({ live: false, lostAt: null });

const listeners = new Set<Listener>();
let source: EventSource | null = null;
let lastId = "";
let pause = 1000;
let timer: ReturnType<typeof setTimeout> | undefined;

/** Be told of changes; returns what ends that. */
export function onChange(listener: Listener): () => void {
  listeners.add(listener);
  if (!source && !timer) open();
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0) close();
  };
}

/** Whether a change concerns one of these runs. */
export function concerns(change: Change, topic: "metrics" | "tags" | "status", runs: ReadonlySet<string>): boolean {
  if (change.reset) return true;
  const changed = change[topic];
  return changed === null || (changed?.some((run) => runs.has(run)) ?? false);
}

function open(): void {
  timer = undefined;
  source = new EventSource(`/api/v1/events${lastId ? `?after=${encodeURIComponent(lastId)}` : ""}`);
  source.onopen = () => {
    pause = 1000;
    connection.live = true;
    connection.lostAt = null;
  };
  source.onerror = lost;
  source.addEventListener("hello", (event) => heard(event));
  source.addEventListener("reset", (event) => heard(event, { reset: true }));
  source.addEventListener("change", (event) => heard(event, JSON.parse(event.data as string) as Change));
}

function heard(event: MessageEvent, change?: Change): void {
  lastId = event.lastEventId || lastId;
  if (change) for (const listener of listeners) listener(change);
}

function lost(): void {
  source?.close();
  source = null;
  connection.live = false;
  connection.lostAt ??= Date.now();
  if (listeners.size === 0) return;
  timer = setTimeout(open, pause * (0.75 + Math.random() / 2));
  pause = Math.min(pause * 2, 30_000);
}

function close(): void {
  source?.close();
  source = null;
  clearTimeout(timer);
  timer = undefined;
}
