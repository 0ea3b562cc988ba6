/**
 * Changes pushed by the server: one stream for all tabs of a browser, which allows only six connections to a host over HTTP/1.1.
 * The tab that holds the lock has the stream and tells the others; when it closes, the next tab gets the lock. The stream is opened
 * again with a growing pause when it breaks. The server is sent the id of the last event that was heard in any tab, so nothing is
 * missed; when the server cannot tell what was, it says `reset` and everything is fetched anew.
 */

import { withTicket } from "./api";
import { address as addressOf } from "./endpoints";

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

/** What the tab with the stream tells the others. */
interface Told {
  id: string;
  change: Change | null;
  live: boolean;
  lostAt: number | null;
}

const NAME = "runstream-live";
const listeners = new Set<Listener>();
// Locks need a secure context: http on another host than this machine has none, and each tab keeps a stream of its own.
const shared = "locks" in navigator && "BroadcastChannel" in globalThis;
const channel = shared ? new BroadcastChannel(NAME) : null;
let source: EventSource | null = null;
let lastId = "";
let pause = 1000;
let timer: ReturnType<typeof setTimeout> | undefined;
let lock: AbortController | null = null; // the lock was asked for, or is held
let release: (() => void) | null = null;

if (channel) {
  channel.onmessage = (event: MessageEvent<Told | "who">) => {
    if (event.data === "who") {
      if (release) tell(null);
      return;
    }
    if (release) return;
    const { id, change, live, lostAt } = event.data;
    lastId = id || lastId;
    connection.live = live;
    connection.lostAt = lostAt;
    if (change) for (const listener of listeners) listener(change);
  };
}

function tell(change: Change | null): void {
  if (release)
    channel?.postMessage({
      id: lastId,
      change,
      live: connection.live,
      lostAt: connection.lostAt,
    } satisfies Told);
}

/** Be told of changes; returns what ends that. */
export function onChange(listener: Listener): () => void {
  listeners.add(listener);
  if (!lock) start();
  return () => {
    listeners.delete(listener);
    // Another page of this tab may listen at once.
    setTimeout(() => listeners.size === 0 && stop());
  };
}

function start(): void {
  lock = new AbortController();
  if (!shared) {
    void open();
    return;
  }
  channel!.postMessage("who");
  navigator.locks
    .request(NAME, { signal: lock.signal }, () => {
      void open();
      return new Promise<void>((resolve) => (release = resolve));
    })
    .catch(() => undefined); // nobody listens any more
}

function stop(): void {
  source?.close();
  source = null;
  clearTimeout(timer);
  timer = undefined;
  lock?.abort();
  lock = null;
  release?.();
  release = null;
}

/** Call `load` when a run came or its status changed, at most once in `pause` milliseconds; returns how to stop. */
export function onStatus(load: () => void, pause = 300): () => void {
  let waiting: ReturnType<typeof setTimeout> | undefined;
  const stop = onChange((change) => {
    if (change.reset || change.status !== undefined)
      waiting ??= setTimeout(() => ((waiting = undefined), load()), pause);
  });
  return () => {
    stop();
    clearTimeout(waiting);
  };
}

/** Whether a change concerns one of these runs. */
export function concerns(
  change: Change,
  topic: "metrics" | "tags" | "status",
  runs: ReadonlySet<string>,
): boolean {
  if (change.reset) return true;
  const changed = change[topic];
  return changed === null || (changed?.some((run) => runs.has(run)) ?? false);
}

async function open(): Promise<void> {
  timer = undefined;
  let address: string;
  try {
    address = await withTicket(addressOf("/api/v1/events", { after: lastId || null }));
  } catch {
    lost();
    return;
  }
  if (!lock) return;
  source = new EventSource(address);
  source.onopen = () => {
    pause = 1000;
    connection.live = true;
    connection.lostAt = null;
    tell(null);
  };
  source.onerror = lost;
  source.addEventListener("hello", (event) => heard(event));
  source.addEventListener("reset", (event) => heard(event, { reset: true }));
  source.addEventListener("change", (event) => heard(event, JSON.parse(event.data as string) as Change));
}

function heard(event: MessageEvent, change?: Change): void {
  lastId = event.lastEventId || lastId;
  tell(change ?? null);
  if (change) for (const listener of listeners) listener(change);
}

function lost(): void {
  source?.close();
  source = null;
  connection.live = false;
  connection.lostAt ??= Date.now();
  tell(null);
  if (!lock) return;
  timer = setTimeout(() => void open(), pause * (0.75 + Math.random() / 2));
  pause = Math.min(pause * 2, 30_000);
}
