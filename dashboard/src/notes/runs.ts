/** Which runs a block of a note is of, and how they are drawn: one run has one colour in all of a note. */
import type { ChartGroup, ChartRun } from "../chart/traces";
import { getJson, runAddress } from "../lib/api";
import { strokeOf, type Stroke } from "../lib/colours";
import { learn } from "../lib/definitions.svelte";
import type { RunsQuery } from "../lib/endpoints";
import { runName } from "../lib/format";
import type { Run } from "../lib/types";
import { readColumns, columnOf, writeColumns, type Column } from "../runs/columns";
import { quoted } from "../runs/query";
import { neededSummaries, NEWEST, tellingColumns } from "../runs/shown";
import { readChoice, shows, type Choice, ALL } from "../workspace/choice";
import { grouped, titleOf } from "../workspace/grouping";
import { SLOTS, slotsOf } from "../workspace/slots";
import type { Embed } from "./embed";

/** What a note is of: its blocks are of these runs where they say nothing else. */
export interface Subject {
  workspace: string | null;
  run?: string;
  experiment?: string;
}

/** Runs as the server is asked for them. */
interface Asked {
  query: RunsQuery;
  /** Of a saved view: its columns, and which of its runs are shown. */
  columns: string | null;
  choice: Choice;
  /** The page that shows all of them. */
  address: string;
}

/** The runs of a block. */
export interface Passing {
  runs: readonly Run[];
  /** Whether more pass than are shown. */
  more: boolean;
  /** Metrics they have in common, where columns are to be chosen by them. */
  common: readonly string[];
  address: string;
  columns: Column[];
}

async function askedOf(embed: Embed, subject: Subject): Promise<Asked> {
  const within: RunsQuery = { workspace: subject.workspace };
  if (embed.search)
    return {
      query: { ...within, q: embed.search },
      columns: null,
      choice: ALL,
      address: `/?q=${encodeURIComponent(embed.search)}`,
    };
  if (embed.view) return viewed(embed.view, within);
  if (subject.run !== undefined)
    return {
      query: { run: [subject.run], archived: "all" },
      columns: null,
      choice: ALL,
      address: runAddress(subject.run),
    };
  if (subject.experiment !== undefined)
    return {
      query: { ...within, experiment: subject.experiment },
      columns: null,
      choice: ALL,
      address: `/?q=${encodeURIComponent(`experiment:${quoted(subject.experiment)}`)}`,
    };
  throw new Error("It does not say which runs: write a line runs: SEARCH, or view: NAME OF A SAVED VIEW.");
}

/** What a saved view shows. */
async function viewed(name: string, within: RunsQuery): Promise<Asked> {
  const { views } = await getJson("/api/v1/views", { page: "runs" });
  const held = views.find((view) => view.name === name);
  if (!held)
    throw new Error(
      `There is no saved view "${name}"; it may have been renamed: see Views on the page of runs.`,
    );
  const { state } = await getJson("/api/v1/views/{view_id}", { view_id: held.id });
  const address = state?.address;
  if (typeof address !== "string" || !address.startsWith("/") || address.startsWith("//"))
    throw new Error(`The view "${name}" holds no address; save it anew.`);
  const { pathname, searchParams: params } = new URL(address, location.origin);
  const query: RunsQuery = { ...within, q: params.get("q"), order: params.get("sort") };
  const id = /^\/experiments\/id\/(\d+)$/.exec(pathname)?.[1];
  if (id) {
    const { experiments } = await getJson("/api/v1/experiments");
    const experiment = experiments.find((item) => String(item.id) === id);
    if (!experiment) throw new Error(`The experiment of the view "${name}" is no longer there.`);
    query.experiment = experiment.name;
    query.workspace = experiment.workspace;
  }
  return {
    query,
    columns: params.get("cols"),
    choice: readChoice(params.get("hide"), params.get("only")),
    address,
  };
}

/** Ask for the runs of a block. */
export async function findRuns(embed: Embed, subject: Subject, signal?: AbortSignal): Promise<Passing> {
  const asked = await askedOf(embed, subject);
  const order = embed.order || asked.query.order || NEWEST;
  const chosen = embed.columns.length ? writeColumns(embed.columns) : asked.columns;
  // Runs that a view hides do not count.
  const limit = asked.choice === ALL ? embed.most : 1000;
  const page = await getJson(
    "/api/v1/runs",
    {
      ...asked.query,
      ...(embed.kind === "table" && neededSummaries(chosen, order)),
      order,
      limit,
      params: "1",
    },
    signal,
  );
  const shown = page.runs.filter((run) => shows(asked.choice, run.run_id));
  const runs = shown.slice(0, embed.most);
  const common = page.metrics ?? [];
  const columns =
    embed.kind !== "table"
      ? []
      : chosen
        ? readColumns(chosen)
        : tellingColumns({ common, runs, goal: null }, order).map((id) => columnOf(id)!);
  return {
    runs,
    more: shown.length > runs.length || page.next !== null,
    common,
    address: asked.address,
    columns,
  };
}

/** The runs of all blocks of a note, and the colour of each. */
export class Drawn {
  #runs = new Map<string, Run>();
  #slots: ReadonlyMap<string, number> = new Map();

  /** Take note of the runs of a block. */
  add(runs: readonly Run[]): void {
    for (const run of runs) this.#runs.set(run.run_id, run);
    const all = [...this.#runs.values()];
    this.#slots = slotsOf(all, this.#slots);
    learn(all);
  }

  stroke(id: string, dark: boolean): Stroke {
    return strokeOf((this.#slots.get(id) ?? 0) % SLOTS, dark);
  }

  lines(runs: readonly Run[], dark: boolean): ChartRun[] {
    return runs.map((run) => ({
      id: run.run_id,
      name: runName(run),
      stroke: this.stroke(run.run_id, dark),
      hidden: false,
    }));
  }
}

/** The runs of a chart in groups; undefined: each by itself. */
export function groupsOf(embed: Embed, runs: readonly Run[], dark: boolean): ChartGroup[] | undefined {
  if (!embed.group) return undefined;
  return grouped(runs, embed.group).map(([value, members], i) => ({
    id: `${embed.group}=${value}`,
    name: `${titleOf(embed.group)} ${value} (${members.length})`,
    stroke: strokeOf(i % SLOTS, dark),
    hidden: false,
    members,
  }));
}
