/** The runs a workspace's charts are of: which of them are shown, and how each is drawn. */
import { strokeOf, type Stroke } from "../lib/colours";
import { runName } from "../lib/format";
import { param, setParams } from "../lib/route.svelte";
import { theme } from "../lib/theme.svelte";
import type { Run } from "../lib/types";
import type { ChartGroup, ChartRun } from "../chart/traces";
import { ALL, alone, readChoice, shows, toggled, writeChoice, type Choice } from "./choice";
import { grouped, titleOf } from "./grouping";
import { SLOTS, slotsOf } from "./slots";

function sameLine(a: ChartRun, b: ChartRun): boolean {
  return a.id === b.id && a.name === b.name && a.stroke === b.stroke && a.hidden === b.hidden;
}

export class VisibleRuns {
  readonly #runs: () => readonly Run[];
  #slots: ReadonlyMap<string, number> = new Map();

  constructor(runs: () => readonly Run[]) {
    this.#runs = runs;
  }

  readonly runs = $derived.by(() => this.#runs());
  readonly ids = $derived(this.runs.map((run) => run.run_id));
  readonly #hide = $derived(param("hide"));
  readonly #only = $derived(param("only"));
  readonly #choice = $derived(readChoice(this.#hide, this.#only));
  readonly #drawn = $derived(Array.from({ length: SLOTS }, (_, slot) => strokeOf(slot, theme.dark)));
  /** What the charts show the runs in groups by; empty: each run by itself. */
  readonly by = $derived(param("by") ?? "");
  readonly #members = $derived(this.by ? grouped(this.runs, this.by) : []);
  readonly #strokes = $derived.by(() => {
    const drawn = this.#drawn;
    if (this.by)
      return new Map(
        this.#members.flatMap(([, members], i) => members.map((id) => [id, drawn[i % SLOTS]!] as const)),
      );
    this.#slots = slotsOf(this.runs, this.#slots);
    return new Map([...this.#slots].map(([id, slot]) => [id, drawn[slot]!]));
  });
  #groups: readonly ChartGroup[] = [];
  #groupsText = "";
  /** A group is hidden when all its members are; its mean is over all of them. The same as before where nothing changed. */
  readonly groups = $derived.by<readonly ChartGroup[] | undefined>(() => {
    if (!this.by) return undefined;
    const groups = this.#members.map(([value, members], i): ChartGroup => ({
      id: `${this.by}=${value}`,
      name: `${titleOf(this.by)} ${value} (${members.length})`,
      stroke: this.#drawn[i % SLOTS]!,
      hidden: !members.some((id) => shows(this.#choice, id)),
      members,
    }));
    const text = JSON.stringify(groups);
    if (text === this.#groupsText) return this.#groups;
    this.#groupsText = text;
    return (this.#groups = groups);
  });
  #lines: ChartRun[] = [];
  /** The same as before where nothing of it changed: a list that is looked at again makes no chart draw. */
  readonly lines = $derived.by<ChartRun[]>(() => {
    const before = this.#lines;
    const lines = this.runs.map((run, i): ChartRun => {
      const id = run.run_id;
      const line = {
        id,
        name: runName(run),
        stroke: this.#strokes.get(id)!,
        hidden: !shows(this.#choice, id),
      };
      const held = before[i];
      return held && sameLine(held, line) ? held : line;
    });
    const same = lines.length === before.length && lines.every((line, i) => line === before[i]);
    return same ? before : (this.#lines = lines);
  });
  /** How many are shown. */
  readonly count = $derived(this.ids.reduce((sum, id) => sum + Number(shows(this.#choice, id)), 0));

  /** How a run is drawn; undefined: the charts are not of it. */
  stroke(id: string): Stroke | undefined {
    return this.#strokes.get(id);
  }

  shown(id: string): boolean {
    return shows(this.#choice, id);
  }

  /** Show a run, or all of a group, or no longer. */
  toggle(id: string): void {
    const group = this.groups?.find((item) => item.id === id);
    if (!group) return this.#keep(toggled(this.#choice, id));
    const members = new Set(group.members);
    const shown = this.ids.filter((run) => (members.has(run) ? group.hidden : this.shown(run)));
    this.#keep(shown.length === this.ids.length ? ALL : { only: true, ids: new Set(shown) });
  }

  readonly #foldText = $derived(param("folded") ?? "");
  /** Groups whose runs the list does not show. */
  readonly folded = $derived<ReadonlySet<string>>(new Set(this.#foldText.split("\n").filter(Boolean)));

  /** Show the runs of a group in the list, or no longer. */
  fold(id: string): void {
    const next = new Set(this.folded);
    if (!next.delete(id)) next.add(id);
    setParams({ folded: [...next].join("\n") || null });
  }

  /** Show just this group, and all again the second time. */
  onlyGroup(group: ChartGroup): void {
    const shown = this.ids.filter((id) => this.shown(id));
    const only = shown.length === group.members.length && group.members.every((id) => this.shown(id));
    this.#keep(only ? ALL : { only: true, ids: new Set(group.members) });
  }

  /** Draw the runs in groups; empty: by themselves. */
  group(by: string): void {
    setParams({ by: by || null, folded: null }, true);
  }

  /** Show just this run, and all again the second time. */
  alone(id: string): void {
    this.#keep(alone(this.#choice, id, this.ids));
  }

  /** Show exactly these. */
  show(ids: Iterable<string>): void {
    this.#keep({ only: true, ids: new Set(ids) });
  }

  /** Show all, or none where all are shown. */
  all(): void {
    this.#keep(this.count === this.ids.length ? { only: true, ids: new Set() } : ALL);
  }

  #keep(choice: Choice): void {
    setParams(writeChoice(choice));
  }
}
