/** Pan and zoom of a chart's x by Shift+drag, Ctrl+wheel and two fingers; a plain wheel scrolls the page. */
import type { Range } from "./draw";

interface Gestured {
  /** The range of x shown now. */
  range: () => Range;
  /** x at a place in the window. */
  at: (clientX: number) => number;
  /** Width of what is drawn, in pixels. */
  width: () => number;
  /** Show another range of the same length (`pan`) or another one; `done`: the gesture has ended. */
  move: (range: Range, done: boolean, pan?: boolean) => void;
}

/** The range when `factor` times as much is to be seen, with what lies at `at` staying there. */
export function zoomed(range: Range, factor: number, at: number): Range {
  return { min: at - (at - range.min) * factor, max: at + (range.max - at) * factor };
}

export function gestures(node: HTMLElement, chart: Gestured): { destroy: () => void } {
  const fingers = new Map<number, number>();
  let pinch: { range: Range; width: number; at: number } | null = null;

  function panFrom(event: PointerEvent): void {
    const start = event.clientX;
    const { min, max } = chart.range();
    const per = (max - min) / chart.width();
    let last: Range = { min, max };
    const move = (to: PointerEvent) => {
      const by = (start - to.clientX) * per;
      last = { min: min + by, max: max + by };
      chart.move(last, false, true);
    };
    const stop = () => {
      removeEventListener("pointermove", move);
      removeEventListener("pointerup", stop);
      if (last.min !== min) chart.move(last, true, true);
    };
    addEventListener("pointermove", move);
    addEventListener("pointerup", stop);
  }

  function down(event: PointerEvent): void {
    if (event.pointerType === "touch") {
      fingers.set(event.pointerId, event.clientX);
      if (fingers.size !== 2) return;
      const [a = 0, b = 0] = fingers.values();
      pinch = { range: chart.range(), width: Math.max(1, Math.abs(a - b)), at: chart.at((a + b) / 2) };
    } else if (event.shiftKey && event.button === 0) {
      // Before uPlot takes it for a selection.
      event.preventDefault();
      event.stopPropagation();
      panFrom(event);
    }
  }

  function move(event: PointerEvent): void {
    if (!fingers.has(event.pointerId)) return;
    fingers.set(event.pointerId, event.clientX);
    if (!pinch) return;
    const [a = 0, b = 0] = fingers.values();
    chart.move(zoomed(pinch.range, pinch.width / Math.max(1, Math.abs(a - b)), pinch.at), false);
  }

  function up(event: PointerEvent): void {
    fingers.delete(event.pointerId);
    if (pinch && fingers.size < 2) {
      pinch = null;
      chart.move(chart.range(), true);
    }
  }

  function mousedown(event: MouseEvent): void {
    if (event.shiftKey) event.stopPropagation();
  }

  function wheel(event: WheelEvent): void {
    if (!event.ctrlKey) return;
    event.preventDefault();
    chart.move(zoomed(chart.range(), Math.exp(event.deltaY * 0.002), chart.at(event.clientX)), false);
  }

  node.addEventListener("pointerdown", down, true);
  node.addEventListener("pointermove", move);
  node.addEventListener("pointerup", up);
  node.addEventListener("pointercancel", up);
  node.addEventListener("mousedown", mousedown, true);
  node.addEventListener("wheel", wheel, { passive: false });
  return {
    destroy() {
      node.removeEventListener("pointerdown", down, true);
      node.removeEventListener("pointermove", move);
      node.removeEventListener("pointerup", up);
      node.removeEventListener("pointercancel", up);
      node.removeEventListener("mousedown", mousedown, true);
      node.removeEventListener("wheel", wheel);
    },
  };
}
