/** The canvas with its axes and its cursor (uPlot's); the lines on it are our own painter's. */
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { formatNumber } from "../lib/format";
import type { Range } from "./draw";
import type { Axis } from "./frame";
import { xText } from "./texts";

interface Plotted {
  axis: Axis;
  log: boolean;
  logX: boolean;
  width: number;
  height: number;
  /** The ranges that are shown now. */
  x: () => Range;
  y: () => Range;
  draw: (u: uPlot) => void;
  /** A rectangle was dragged open. */
  onselect: (u: uPlot) => void;
  /** The cursor was moved. */
  oncursor: (u: uPlot) => void;
}

/** Its points are the corners of what is shown: uPlot draws no line, but takes its scales from them. */
export function cornersOf(x: Range, y: Range): uPlot.AlignedData {
  return [
    [x.min, x.max],
    [y.min, y.max],
  ];
}

export function plotIn(host: HTMLElement, plotted: Plotted): uPlot {
  const { axis, log, logX, width, height, x, y } = plotted;
  const style = getComputedStyle(host);
  const colour = (variable: string) => style.getPropertyValue(variable).trim();
  const look = {
    stroke: colour("--muted"),
    font: "11px system-ui, sans-serif",
    grid: { stroke: colour("--rule"), width: 1 },
    ticks: { show: false },
    gap: 4,
  };
  const time = axis === "time";
  const limits = (range: () => Range) => (): [number, number] => [range().min, range().max];
  const options: uPlot.Options = {
    width,
    height,
    padding: [8, 10, 0, 0],
    legend: { show: false },
    scales: {
      x: { time, distr: logX ? 3 : 1, range: limits(x) },
      y: { distr: log ? 3 : 1, range: limits(y) },
    },
    series: [{}, { paths: () => null, points: { show: false } }],
    axes: [
      {
        ...look,
        size: 28,
        ...(time ? {} : { values: (_, splits) => splits.map((x) => (x === null ? "" : xText(axis, x))) }),
      },
      {
        ...look,
        size: 54,
        values: (_, splits) => splits.map((y) => (y === null ? "" : formatNumber(y, 3))),
      },
    ],
    cursor: {
      points: { show: false },
      drag: { x: true, y: true, uni: 24, setScale: false, dist: 4 },
      bind: { dblclick: () => null },
    },
    hooks: {
      draw: [plotted.draw],
      setSelect: [plotted.onselect],
      setCursor: [plotted.oncursor],
    },
  };
  return new uPlot(options, cornersOf(x(), y()), host);
}
