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

/** The chart of one metric. */
export function loadChart(name: string, query: ChartQuery): Promise<Frame> {
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
