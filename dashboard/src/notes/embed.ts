/**
 * What is embedded in a note: fenced blocks of Markdown that begin with "runstream" and a kind, with a setting a line.
 *
 *     ```runstream chart
 *     metric: val/loss
 *     runs: experiment:sweep status:completed
 *     ```
 */
import { MOST_SMOOTHING, type Axis } from "../chart/frame";
import { columnOf } from "../runs/columns";
import { firstMistake } from "../runs/query";

export const KINDS = ["chart", "table", "runs"] as const;
export type Kind = (typeof KINDS)[number];

/** A block as it was written. */
export interface Block {
  /** What stands behind the backticks. */
  info: string;
  body: string;
}

export interface Embed {
  kind: Kind;
  title: string;
  /** A search, as the search box takes it; empty where a view says which runs, or what the note is of. */
  search: string;
  /** The name of a saved view. */
  view: string;
  /** What the server sorts by; empty: as the view has it, else the newest first. */
  order: string;
  /** So many runs at most. */
  most: number;
  metrics: string[];
  axis: Axis;
  smoothing: number;
  log: boolean;
  /** `status`, `param:NAME` or `tag:NAME`; empty: each run by itself. */
  group: string;
  /** Ids of columns; empty: those that tell the runs apart. */
  columns: string[];
}

const MOST: Record<Kind, { usual: number; most: number }> = {
  chart: { usual: 20, most: 100 },
  table: { usual: 20, most: 200 },
  runs: { usual: 20, most: 200 },
};
/** How each is called. */
export const WORDS: Record<Kind, string> = { chart: "chart", table: "table", runs: "set of runs" };
const COMMON = ["runs", "view", "title", "sort", "most"];
const KEYS: Record<Kind, readonly string[]> = {
  chart: ["metric", ...COMMON, "group", "x", "smooth", "log"],
  table: ["columns", ...COMMON],
  runs: COMMON,
};

/** What a new block begins with. */
export const EXAMPLES: Record<Kind, string> = {
  chart: "metric: loss\nruns: experiment:NAME",
  table: "columns: status, loss.min, param:lr\nruns: experiment:NAME",
  runs: "runs: experiment:NAME status:running",
};

/** Whether a fenced block is one of ours, by what stands behind its backticks. */
export function isEmbed(info: string | undefined): info is string {
  return /^runstream(\s|$)/.test(info ?? "");
}

/**
 * Read a block.
 *
 * Throws an Error that says what is wrong, in which line, and what is expected.
 */
export function readEmbed({ info, body }: Block): Embed {
  const word = info.replace(/^runstream\s*/, "").trim();
  const kind = KINDS.find((known) => known === word);
  if (!kind)
    throw new Error(
      `"${word}" is nothing a note can show; write runstream chart, runstream table or runstream runs.`,
    );
  const embed: Embed = {
    kind,
    title: "",
    search: "",
    view: "",
    order: "",
    most: MOST[kind].usual,
    metrics: [],
    axis: "step",
    smoothing: 0,
    log: false,
    group: "",
    columns: [],
  };
  const said = new Set<string>();
  for (const [i, line] of body.split("\n").entries()) {
    if (!line.trim() || line.trimStart().startsWith("#")) continue;
    const [, key, value] = /^\s*([a-z]+)\s*:\s*(.*?)\s*$/.exec(line) ?? [];
    try {
      if (key === undefined || !value) throw new Error(`"${line.trim()}" is no setting; write name: value.`);
      if (!KEYS[kind].includes(key))
        throw new Error(`a ${WORDS[kind]} has no "${key}"; it takes ${KEYS[kind].join(", ")}.`);
      if (said.has(key) && key !== "metric") throw new Error(`"${key}" is said twice.`);
      said.add(key);
      set(embed, key, value);
    } catch (mistake) {
      throw new Error(`Line ${i + 1}: ${(mistake as Error).message}`, { cause: mistake });
    }
  }
  if (kind === "chart" && !embed.metrics.length)
    throw new Error("A chart needs a metric: write a line metric: NAME.");
  if (embed.search && embed.view) throw new Error('"runs" and "view" both say which runs; leave one out.');
  return embed;
}

function set(embed: Embed, key: string, value: string): void {
  switch (key) {
    case "title":
      embed.title = value;
      return;
    case "view":
      embed.view = value;
      return;
    case "runs": {
      const mistake = firstMistake(value);
      if (mistake) throw new Error(`in the search, ${mistake}.`);
      embed.search = value;
      return;
    }
    case "sort": {
      const order = columnOf(value.replace(/^-/, ""))?.order;
      if (!order)
        throw new Error(
          `runs cannot be sorted by "${value}"; write a column, as loss.min or started, with - for the largest first.`,
        );
      embed.order = (value.startsWith("-") ? "-" : "") + order;
      return;
    }
    case "most":
      embed.most = number(value, 1, MOST[embed.kind].most, true);
      return;
    case "metric":
      if (!embed.metrics.includes(value)) embed.metrics.push(value);
      if (embed.metrics.length > 10) throw new Error("a chart shows at most 10 metrics; make a second one.");
      return;
    case "x":
      if (!/^(step|time|relative|metric:.+)$/.test(value))
        throw new Error(`"${value}" is no x; write step, time, relative or metric:NAME.`);
      embed.axis = value as Axis;
      return;
    case "smooth":
      embed.smoothing = number(value, 0, MOST_SMOOTHING, false);
      return;
    case "log":
      if (value !== "yes" && value !== "no") throw new Error(`"${value}" is neither yes nor no.`);
      embed.log = value === "yes";
      return;
    case "group":
      if (!/^(status|(param|tag):.+)$/.test(value))
        throw new Error(`runs cannot be put in groups by "${value}"; write status, param:NAME or tag:NAME.`);
      embed.group = value;
      return;
    case "columns":
      embed.columns = value.split(",").map((part) => {
        const id = decoded(part.trim());
        if (!columnOf(id))
          throw new Error(
            `"${id}" is no column; write status, started, duration, loss.min, param:NAME or tag:NAME.`,
          );
        return id;
      });
  }
}

function number(value: string, least: number, most: number, whole: boolean): number {
  const read = Number(value);
  if (!(read >= least && read <= most) || (whole && !Number.isInteger(read)))
    throw new Error(`"${value}" is no ${whole ? "whole " : ""}number from ${least} to ${most}.`);
  return read;
}

/** A comma within a name is written %2C, as in addresses. */
function decoded(id: string): string {
  try {
    return decodeURIComponent(id);
  } catch {
    return id;
  }
}
