/**
 * A log axis shows the beginning of x large, where the buckets of the whole hold a chart's width in one. So the beginning is asked for
 * by itself, in buckets as narrow as it needs, again and again until every point is there.
 */
import type { Frame, Line } from "./frame";
import { lowerBound } from "./frame";
import type { ChartQuery } from "./load";

const PART = 1 / 32; // of what was asked for before
const MOST_PARTS = 4;

/** The chart of one metric, its beginning as fine as its end. */
export async function loadDecades(
  load: (name: string, query: ChartQuery) => Promise<Frame>,
  name: string,
  query: ChartQuery,
): Promise<Frame> {
  let frame = await load(name, query);
  let end = frame.last;
  let newest = frame;
  for (let part = 0; part < MOST_PARTS; part++) {
    end *= PART;
    const least = Math.max(query.from ?? 0, frame.first);
    if (!(end > least) || newest.lines.every((line) => line.x.length >= line.points)) break;
    newest = await load(name, { ...query, to: end });
    frame = joined(newest, frame, end);
  }
  return frame;
}

/** `finer` up to `end`, and `coarse` behind it. */
export function joined(finer: Frame, coarse: Frame, end: number): Frame {
  const lines = new Map(finer.lines.map((line) => [line.runId, line]));
  return {
    ...coarse,
    lines: coarse.lines.map((line) => {
      const beginning = lines.get(line.runId);
      return beginning ? joinedLine(beginning, line, end) : line;
    }),
  };
}

function joinedLine(beginning: Line, line: Line, end: number): Line {
  let from = lowerBound(line.x, end);
  while (from < line.x.length && line.x[from]! <= (beginning.x.at(-1) ?? -Infinity)) from++;
  const size = beginning.x.length + line.x.length - from;
  const column = (of: (line: Line) => Float64Array) => {
    const all = new Float64Array(size);
    all.set(of(beginning));
    all.set(of(line).subarray(from), beginning.x.length);
    return all;
  };
  const last = column((part) => part.last);
  const plain = beginning.low === beginning.last && line.low === line.last;
  let marks: Uint8Array | null = null;
  if (beginning.marks || line.marks) {
    marks = new Uint8Array(size);
    if (beginning.marks) marks.set(beginning.marks);
    if (line.marks) marks.set(line.marks.subarray(from), beginning.x.length);
  }
  return {
    ...line,
    x: column((part) => part.x),
    last,
    low: plain ? last : column((part) => part.low),
    high: plain ? last : column((part) => part.high),
    smooth: line.smooth && column((part) => part.smooth ?? part.last),
    marks,
  };
}
