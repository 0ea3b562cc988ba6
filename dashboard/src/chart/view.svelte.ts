/** How charts are shown, as the address has it: x axis, range, smoothing, scale. */
import { param, setParams } from "../lib/route.svelte";
import type { Axis } from "./frame";

export interface View {
  axis: Axis;
  from: number | null;
  to: number | null;
  smoothing: number;
  log: boolean;
  withoutOutliers: boolean;
}

function number(name: string): number | null {
  const text = param(name);
  if (text === null) return null;
  const value = Number(text);
  return Number.isFinite(value) ? value : null;
}

export function readView(): View {
  const axis = param("x");
  return {
    axis: axis === "time" || axis === "relative" ? axis : "step",
    from: number("from"),
    to: number("to"),
    smoothing: Math.min(Math.max(number("smooth") ?? 0, 0), 0.999),
    log: param("log") === "1",
    withoutOutliers: param("outliers") === "0",
  };
}

const digits = (value: number) => String(Number(value.toPrecision(12)));

/** Zoom; null: everything, and follow what comes. */
export function setRange(from: number | null, to: number | null, push = true): void {
  setParams({ from: from === null ? null : digits(from), to: to === null ? null : digits(to) }, push);
}

export function setAxis(axis: Axis): void {
  setParams({ x: axis === "step" ? null : axis, from: null, to: null }, true);
}

export function setSmoothing(value: number, push = false): void {
  setParams({ smooth: value > 0 ? String(Math.min(value, 0.999)) : null }, push);
}

export function toggleLog(): void {
  setParams({ log: param("log") === "1" ? null : "1" }, true);
}

export function toggleOutliers(): void {
  setParams({ outliers: param("outliers") === "0" ? null : "0" }, true);
}
