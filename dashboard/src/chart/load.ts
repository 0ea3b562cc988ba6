/** Charts that come into sight together are asked for together: one request for the same runs, range and width. */
import { getBytes } from "../lib/api";
import { decodeFrames, metricOf, unitOf, type Axis, type Frame } from "./frame";

export interface ChartQuery {
  runs: readonly string[];
  axis: Axis;
  width: number;
  from: number | null;
  to: number | null;
  smoothing: number;
}

const MOST_NAMES = 32;
const MOST_SERIES = 5000; // of one request; the server takes no more

interface Batch {
  query: ChartQuery;
  names: Map<string, ((answer: Promise<Frame>) => void)[]>;
}

const LEAST_PAUSE = 120; // milliseconds
const MOST_PAUSE = 2000;
let took = 0; // what answers took of late

/** Milliseconds from one look at live charts to the next: the longer, the longer their answers take. */
export function pauseOfCharts(): number {
  return Math.min(MOST_PAUSE, Math.max(LEAST_PAUSE, 1.5 * took));
}

const batches = new Map<string, Batch>();

const MOST_BUCKETS = 2048;
const KEPT_BUCKETS = 320;
/** Of more runs than these the server keeps so many buckets of each, and charts are of these: their lines hide one another. */
export const MANY_RUNS = 100;

/** How many buckets a chart is asked for: one a pixel. */
export function bucketsOf(width: number, runs: number): number {
  const most = runs > MANY_RUNS ? KEPT_BUCKETS : MOST_BUCKETS;
  return Math.max(64, Math.min(most, 64 * Math.ceil((width - 64) / 64)));
}

const AHEAD = 2000; // milliseconds an answer waits for its chart
const ahead = new Map<string, Promise<Frame>>();

/** Ask for charts that will be there in a moment, so many pixels wide: the first by itself, so that it comes first. */
export function expectCharts(names: readonly string[], runs: readonly string[], pixels: number): void {
  const width = bucketsOf(pixels, runs.length);
  const query: ChartQuery = { runs, axis: "step", width, from: null, to: null, smoothing: 0 };
  for (const [i, name] of names.entries()) {
    const answer = askFor(name, query);
    answer.catch(() => undefined); // its chart tells
    ahead.set(aheadKey(name, query), answer);
    if (i === 0) send(JSON.stringify(query));
  }
  setTimeout(() => ahead.clear(), AHEAD);
}

const aheadKey = (name: string, { runs, axis, width, from, to, smoothing }: ChartQuery) =>
  JSON.stringify([name, runs, axis, width, from, to, smoothing]);

/** The chart of one metric. */
export function loadChart(name: string, query: ChartQuery): Promise<Frame> {
  const key = ahead.size ? aheadKey(name, query) : "";
  const early = ahead.get(key);
  if (!early) return askFor(name, query);
  ahead.delete(key);
  return early;
}

function askFor(name: string, query: ChartQuery): Promise<Frame> {
  const key = JSON.stringify(query);
  let batch = batches.get(key);
  if (!batch) {
    batch = { query, names: new Map() };
    batches.set(key, batch);
    setTimeout(() => send(key)); // behind those who ask in the same turn
  }
  const waiting = batch.names;
  return new Promise((resolve) => {
    const held = waiting.get(name);
    if (held) held.push(resolve);
    else waiting.set(name, [resolve]);
  });
}

function send(key: string): void {
  const batch = batches.get(key);
  if (!batch) return;
  batches.delete(key);
  const names = [...batch.names.keys()];
  const most = Math.max(1, Math.min(MOST_NAMES, Math.floor(MOST_SERIES / batch.query.runs.length)));
  for (let at = 0; at < names.length; at += most) {
    const part = names.slice(at, at + most);
    const answer = fetchFrames(part, batch.query);
    for (const [i, name] of part.entries()) {
      const own = answer.then((frames) => frames[i]!);
      for (const resolve of batch.names.get(name)!) resolve(own);
    }
  }
}

async function fetchFrames(names: string[], query: ChartQuery): Promise<Frame[]> {
  const unit = unitOf(query.axis);
  const exact = metricOf(query.axis) !== "";
  const whole = (value: number | null) => (value === null ? null : exact ? value : Math.round(value * unit));
  const asked = performance.now();
  const bytes = await getBytes("/api/v1/charts", {
    run: query.runs,
    name: names,
    x: query.axis,
    width: query.width,
    from: whole(query.from),
    to: whole(query.to),
    smooth: query.smoothing || null,
  });
  took += (performance.now() - asked - took) / 4;
  return decodeFrames(bytes);
}
