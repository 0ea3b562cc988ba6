/** Zoom and pan of a chart, however they are asked for: by a rectangle, gestures or keys. */
import type uPlot from "uplot";
import type { Range } from "./draw";
import { metricOf } from "./frame";
import { zoomed } from "./gestures";
import { asX, evenly } from "./scales";
import type { View } from "./view.svelte";

/** Whether x is being dragged in a chart: all of them keep their ranges of y meanwhile, so that pictures need only be moved. */
export const panning = $state({ on: false });

export interface Zoomable {
  view: View;
  /** Zoomed or panned; `push`: a step that can be undone. A range of null: all of it. */
  onrange: (from: number | null, to: number | null, push: boolean) => void;
  ony: (y: Range | null) => void;
}

interface Zoom {
  /** To what is in uPlot's rectangle. */
  select: (u: uPlot) => void;
  /** To a range of x; `pan`: one of the same length. */
  move: (range: Range, done: boolean, pan?: boolean) => void;
  /** To `factor` times as much, around the middle. */
  by: (factor: number) => void;
  /** To all of it. */
  reset: () => void;
}

export function zoomOf(chart: Zoomable, xRange: () => Range, logX: () => boolean): Zoom {
  function to(min: number, max: number, push = true): void {
    const { axis } = chart.view;
    if (axis === "step") {
      min = Math.floor(min);
      max = Math.max(Math.ceil(max), min + 1);
    } else if (!metricOf(axis) && max - min < 1e-3) return;
    chart.onrange(min, max, push);
  }

  return {
    select(u) {
      const { left, top, width, height } = u.select;
      if (width < 3 && height < 3) return;
      const x: [number, number] = [u.posToVal(left, "x"), u.posToVal(left + width, "x")];
      const y: Range = { min: u.posToVal(top + height, "y"), max: u.posToVal(top, "y") };
      u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
      if (height < u.over.clientHeight - 1 && height > 3) chart.ony(y);
      if (width < u.over.clientWidth - 1 && width > 3) to(...x);
    },
    move({ min, max }, done, pan = false) {
      panning.on = pan && !done;
      if (pan && chart.view.axis === "step") {
        max = Math.round(min) + Math.round(max - min); // always as many steps: the picture is moved, not drawn anew
        min = Math.round(min);
      }
      to(min, max, done);
    },
    by(factor) {
      const range = evenly(xRange(), logX());
      const { min, max } = asX(zoomed(range, factor, (range.min + range.max) / 2), logX());
      to(min, max);
    },
    reset() {
      if (chart.view.y) chart.ony(null);
      chart.onrange(null, null, true);
    },
  };
}
