import type { Status } from "./types";

type Tone = "ok" | "warn" | "bad" | "live" | "idle";

interface StatusLook {
  icon: string;
  word: string;
  tone: Tone;
}

/** Each status there is, by the type of the API: the compiler sees that none is missing and none is made up. */
const LOOKS: Record<Status, StatusLook> = {
  NotStarted: { icon: "○", word: "not started", tone: "idle" },
  Starting: { icon: "◔", word: "starting", tone: "live" },
  Provisioning: { icon: "◔", word: "provisioning", tone: "live" },
  Preparing: { icon: "◔", word: "preparing", tone: "live" },
  Queued: { icon: "◷", word: "queued", tone: "idle" },
  Running: { icon: "▶", word: "running", tone: "live" },
  Finalizing: { icon: "◕", word: "finalizing", tone: "live" },
  CancelRequested: { icon: "⏹", word: "canceling", tone: "warn" },
  Completed: { icon: "✓", word: "completed", tone: "ok" },
  Failed: { icon: "✕", word: "failed", tone: "bad" },
  Canceled: { icon: "⊘", word: "canceled", tone: "warn" },
  NotResponding: { icon: "?", word: "not responding", tone: "warn" },
  Pausing: { icon: "‖", word: "pausing", tone: "idle" },
  Paused: { icon: "‖", word: "paused", tone: "idle" },
  Unapproved: { icon: "○", word: "not approved", tone: "idle" },
};

/** Every status, those that are looked for most first. */
export const STATUSES: readonly string[] = [
  ...new Set([
    "Running",
    "Completed",
    "Failed",
    "Canceled",
    "Queued",
    "NotResponding",
    ...Object.keys(LOOKS),
  ]),
];

/** How a status is shown: never by colour alone. */
export function statusLook(status: string): StatusLook {
  return (
    (LOOKS as Record<string, StatusLook | undefined>)[status] ?? { icon: "•", word: status, tone: "idle" }
  );
}

const PLACES = ["Running", "Queued", "Completed", "Failed", "Canceled"];

/** Counts by status: what runs, what waits, what ended well, and the rest. */
export function inOrder(counts: Readonly<Record<string, number>>): [status: string, n: number][] {
  const place = (status: string) => (PLACES.includes(status) ? PLACES.indexOf(status) : 1.5);
  return Object.entries(counts).sort(([a], [b]) => place(a) - place(b) || a.localeCompare(b));
}

const ENDED: ReadonlySet<string> = new Set<Status>(["Completed", "Failed", "Canceled"]);

export function hasEnded(status: string): boolean {
  return ENDED.has(status);
}

/** Statuses of runs that have not ended. */
export const ACTIVE: readonly string[] = Object.keys(LOOKS).filter((status) => !ENDED.has(status));

const WAITING: ReadonlySet<string> = new Set<Status>(["NotStarted", "Queued", "Unapproved", "Paused"]);

/** Whether a run waits for its turn. */
export function isWaiting(status: string): boolean {
  return WAITING.has(status);
}
