/** What a chart draws: runs or groups of runs, one or more metrics. The colour tells the run, the dash the metric when there are several. */
import { DASHES, type Stroke } from "../lib/colours";
import type { Frame, Line } from "./frame";
import { meanOf } from "./group";

export interface ChartRun {
  id: string;
  name: string;
  stroke: Stroke;
  hidden: boolean;
}

/** Runs drawn as one: their mean, and a band of a standard deviation. */
export interface ChartGroup extends ChartRun {
  members: readonly string[];
}

/** A line of a chart. */
export interface Trace {
  id: string;
  /** The run or the group. */
  who: ChartRun;
  metric: string;
  /** How it is called in this chart. */
  name: string;
  stroke: Stroke;
  group: boolean;
  line: Line;
}

/** The lines of some metrics (a frame each) of these runs, or of the groups when there are any. */
export function tracesOf(
  frames: readonly Frame[],
  runs: readonly ChartRun[],
  groups: readonly ChartGroup[] | undefined,
): Trace[] {
  const traces: Trace[] = [];
  for (const [m, frame] of frames.entries()) {
    const lines = new Map(frame.lines.map((line) => [line.runId, line]));
    const several = frames.length > 1;
    const add = (who: ChartRun, line: Line, group: boolean) => {
      const stroke = several ? { colour: who.stroke.colour, dash: DASHES[m % DASHES.length]! } : who.stroke;
      const name = several ? `${who.name} ${frame.name}` : who.name;
      traces.push({ id: `${who.id}\n${frame.name}`, who, metric: frame.name, name, stroke, group, line });
    };
    if (groups) {
      for (const group of groups) {
        const members = group.members.map((id) => lines.get(id)).filter((line) => line !== undefined);
        if (members.length) add(group, meanOf(group.id, members, frame.bucket), true);
      }
    } else {
      for (const run of runs) {
        const line = lines.get(run.id);
        if (line) add(run, line, false);
      }
    }
  }
  return traces;
}
