/** Reading a chart: what its tip says and which line stands out, by the pointer, by that in another chart, or by keys. */
import type uPlot from "uplot";
import { formatNumber } from "../lib/format";
import type { Range, Transform } from "./draw";
import { nearest } from "./frame";
import { onHover, setHover, type Hover } from "./hover";
import { nearTraces, valueText, type Near } from "./near";
import { xText } from "./texts";
import type { TipText } from "./Tip.svelte";
import type { Trace } from "./traces";
import type { View } from "./view.svelte";

interface Readable {
  readonly view: View;
  readonly plot: uPlot | null;
  readonly traces: readonly Trace[];
  readonly x: Range;
  readonly y: Range;
}

interface Reading {
  readonly tip: TipText | null;
  /** Whether the tip stays where it is. */
  readonly locked: boolean;
  /** For those who hear the page. */
  readonly spoken: string;
  /** The value where the pointer is in another chart. */
  readonly value: string;
  /** The run or group that stands out. */
  readonly focused: string | null;
  /** The cursor of this chart was moved. */
  point: (u: uPlot) => void;
  /** Keep the tip where it is, or let go of it. */
  toggleLock: () => void;
  release: () => void;
  /** To another point of the line that stands out; false: there is none. */
  step: (by: number) => void;
  /** To another line. */
  next: (by: number) => void;
}

const MOST_ROWS = 8;

/** Call it while a component is made: it ends with that. */
export function readingOf(chart: Readable): Reading {
  const self = Symbol("chart");
  let tip = $state.raw<TipText | null>(null);
  let locked = $state(false);
  let spoken = $state("");
  let value = $state("");
  let focused: string | null = null;
  let following = false; // the cursor is moved by another chart, or by a key
  let index = -1;

  function point(u: uPlot): void {
    if (following || locked) return;
    const { left = -1, top = -1 } = u.cursor;
    if (left < 0 || !chart.traces.length) {
      if (tip) setHover(null);
      tip = null;
      return;
    }
    const x = u.posToVal(left, "x");
    const { clientWidth: width, clientHeight: height } = u.over;
    const t: Transform = { x: chart.x, y: chart.y, log: chart.view.log, left: 0, top: 0, width, height };
    const near = nearTraces(chart.traces, t, x, top);
    show(u, near, left, top);
    const chosen = near[0];
    setHover({
      x: chosen ? chosen.trace.line.x[chosen.index]! : x,
      axis: chart.view.axis,
      who: chosen?.trace.who.id ?? null,
      from: self,
    });
  }

  function show(u: uPlot, near: Near[], left: number, top: number): void {
    const chosen = near[0];
    if (!chosen) return;
    tip = {
      x: xText(chart.view.axis, chosen.trace.line.x[chosen.index]!, true),
      rows: near.slice(0, MOST_ROWS).map((row) => {
        const { id, who, name, stroke, group } = row.trace;
        return { id, who: who.id, name, colour: stroke.colour, group, ...valueText(row) };
      }),
      more: Math.max(0, near.length - MOST_ROWS),
      left: u.over.offsetLeft + left,
      top: u.over.offsetTop + top,
    };
    focus(chosen.trace.who.id);
  }

  function focus(who: string | null): void {
    if (focused === who) return;
    focused = who;
    if (chart.traces.length > 1) chart.plot?.redraw(false, false);
  }

  function moveCursor(u: uPlot, left: number, top: number): void {
    following = true;
    u.setCursor({ left, top }, false);
    following = false;
  }

  function follow(hover: Hover | null): void {
    const u = chart.plot;
    if (!u || hover?.from === self || locked) return;
    // x only means the same in charts of the same axis.
    const same = hover?.axis === chart.view.axis;
    moveCursor(u, hover && same ? u.valToPos(hover.x, "x") : -10, -10);
    tip = null;
    focus(hover?.who ?? null);
    const line = hover && same ? chart.traces.find((trace) => trace.who.id === hover.who)?.line : undefined;
    const at = line ? nearest(line.x, hover!.x) : -1;
    value = line && at >= 0 ? formatNumber(line.last[at]!, 6) : "";
  }

  $effect(() => onHover(follow));

  const place = () =>
    Math.max(
      0,
      chart.traces.findIndex((trace) => trace.who.id === focused),
    );

  function release(): void {
    locked = false;
    tip = null;
    setHover(null);
  }

  return {
    get tip() {
      return tip;
    },
    get locked() {
      return locked;
    },
    get spoken() {
      return spoken;
    },
    get value() {
      return value;
    },
    get focused() {
      return focused;
    },
    point,
    release,
    toggleLock() {
      if (locked) release();
      else locked = tip !== null;
    },
    step(by) {
      const trace = chart.traces[place()];
      const u = chart.plot;
      if (!trace || !u) return;
      const { x } = trace.line;
      index = Math.max(0, Math.min(x.length - 1, (index < 0 ? (by > 0 ? -1 : x.length) : index) + by));
      const left = u.valToPos(x[index]!, "x");
      const near: Near = { trace, index, distance: 0 };
      moveCursor(u, left, 0);
      show(u, [near], left, 20);
      spoken = `${trace.name}, ${xText(chart.view.axis, x[index]!, true)}: ${valueText(near).value}`;
    },
    next(by) {
      const count = chart.traces.length;
      const trace = chart.traces[(place() + by + count) % count]!;
      focus(trace.who.id);
      index = -1;
      spoken = trace.name;
    },
  };
}
