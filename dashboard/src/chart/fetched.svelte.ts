/** What a chart draws, fetched again for another view or width and when there may be new points. */
import { flushSync } from "svelte";
import { messageOf } from "../lib/api";
import { inTurn } from "../lib/turns";
import { loadDecades } from "./decades";
import type { Frame } from "./frame";
import type { ChartOf } from "./layout";
import { bucketsOf, loadChart, type ChartQuery } from "./load";
import { isLogX } from "./scales";
import type { ChartGroup, ChartRun } from "./traces";
import type { View } from "./view.svelte";

export interface Asked {
  chart: ChartOf;
  runs: readonly ChartRun[];
  /** Drawn as their means instead of the runs. */
  groups?: readonly ChartGroup[] | undefined;
  view: View;
  /** Grows when there may be new points. */
  tick: number;
  load?: (name: string, query: ChartQuery) => Promise<Frame>;
}

interface Fetched {
  /** A metric each; null before the first answer. What is drawn stays until the next one is there. */
  readonly frames: Frame[] | null;
  readonly error: string;
  /** Whether an answer lets wait. */
  readonly slow: boolean;
  retry: () => void;
}

/** Call it while a component is made: it ends with that. */
export function fetched(asked: Asked, width: () => number): Fetched {
  let frames = $state.raw<Frame[] | null>(null);
  let error = $state("");
  let slow = $state(false);
  let attempt = $state(0);
  let made = 0;
  let generation = 0; // whose answer is drawn
  let underWay = { own: 0, key: "" };
  let again = false;
  let fetchedRange = "null null";
  let rangeChangedAt = -1e9;

  const buckets = $derived(bucketsOf(width(), asked.runs.length));
  // Their texts, so that runs that only changed their look are not fetched again.
  const runs = $derived(
    (asked.groups
      ? [...new Set(asked.groups.flatMap((group) => group.members))]
      : asked.runs.map((run) => run.id)
    ).join("\n"),
  );
  const metrics = $derived(asked.chart.metrics.join("\n"));
  // One by one: a view is made anew whenever anything in the address changes.
  const axis = $derived(asked.view.axis);
  const from = $derived(asked.view.from);
  const to = $derived(asked.view.to);
  const smoothing = $derived(asked.view.smoothing);
  const logX = $derived(isLogX(asked.view));

  $effect(() => {
    void asked.tick;
    void attempt;
    if (!width()) return;
    const query: ChartQuery = {
      runs: runs.split("\n").filter(Boolean),
      axis,
      width: buckets,
      from,
      to,
      smoothing,
    };
    const names = metrics.split("\n");
    // Of a chart that is looked at again while an answer is under way: one answer after the other. Else, where answers take longer
    // than points take to come, none would ever be drawn. (A notebook's kernel answers when its cell has ended, but pushes points
    // meanwhile: there a later look may be answered first.)
    const key = JSON.stringify([query, names, logX]);
    if (!asked.load && key === underWay.key) {
      generation = underWay.own; // another view was asked for meanwhile, and left again
      again = true;
      return;
    }
    const own = (generation = ++made);
    // While a range is dragged what is drawn is moved; what belongs there is fetched when the pointer rests.
    const range = `${from} ${to}`;
    const now = performance.now();
    const dragging = range !== fetchedRange && now - rangeChangedAt < 150;
    if (range !== fetchedRange) rangeChangedAt = now;
    fetchedRange = range;
    const wait = setTimeout(() => void fetchFrames(own, key, names, query, logX), dragging ? 80 : 0);
    return () => clearTimeout(wait);
  });

  async function fetchFrames(
    own: number,
    key: string,
    names: string[],
    query: ChartQuery,
    log: boolean,
  ): Promise<void> {
    underWay = { own, key };
    again = false;
    const late = setTimeout(() => (slow = true), 150);
    try {
      const load = asked.load ?? loadChart;
      const answer = await Promise.all(
        names.map((name) => (log ? loadDecades(load, name, query) : load(name, query))),
      );
      inTurn(() => {
        if (own !== generation) return;
        flushSync(() => {
          frames = answer;
          error = "";
        });
      });
    } catch (failure) {
      if (own === generation) error = messageOf(failure);
    } finally {
      clearTimeout(late);
      if (own === underWay.own) underWay = { own: 0, key: "" };
      if (own === generation) {
        slow = false;
        if (again) void fetchFrames(own, key, names, query, log);
      }
    }
  }

  return {
    get frames() {
      return frames;
    },
    get error() {
      return error;
    },
    get slow() {
      return slow;
    },
    retry: () => (attempt += 1),
  };
}
