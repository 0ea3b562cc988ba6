/** The list of runs as far as it was scrolled, kept up to date. Pages follow one another by cursor. */
import { getJson, messageOf } from "../lib/api";
import { learn } from "../lib/definitions.svelte";
import type { RunsQuery } from "../lib/endpoints";
import { say } from "../lib/messages.svelte";
import type { Run, RunPage } from "../lib/types";
import { tellingColumns } from "./shown";
import { goalOf, treeRows, type Branch, type Goal } from "./tree";

const PAGE = 100;
const MOST_CHILDREN = 1000;
const MOST_IDS = 20_000;
const FEW_METRICS = 4; // of a list that has fewer, more may be on their way
const METRICS_PAUSE = 3000; // milliseconds between two looks for those

export class RunList {
  runs = $state.raw<Run[]>([]);
  counts = $state.raw<Record<string, number> | null>(null);
  error = $state("");
  loading = $state(false);
  loaded = $state(false);
  /** Whether there are more than were fetched. */
  more = $state(false);
  branches = $state.raw<ReadonlyMap<string, Branch>>(new Map());
  childCounts = $state.raw<ReadonlyMap<string, number>>(new Map());
  /** Metrics that most of the first runs have, where the query asked for those (`summary_common`). */
  common = $state.raw<readonly string[] | null>(null);
  /** Columns that tell the runs apart, where the query asked for such metrics; they change with the runs, not with their values. */
  telling = $state.raw<readonly string[] | null>(null);
  #goal: Goal | null = null;
  readonly rows = $derived(treeRows(this.runs, this.branches, this.childCounts));
  /** How far its table was scrolled. */
  top = 0;
  /** Called with the first runs of a query, before anything is drawn of them. */
  onloaded: (() => void) | undefined;
  #next: string | null = null;
  #query: RunsQuery = {};
  /** The query as it was asked for, while fewer metrics than wanted are known of. */
  #lacking: RunsQuery | null = null;
  #lookedAt = 0;
  #generation = 0;
  #abort: AbortController | null = null;

  /** How many runs pass, or how many are known of. */
  get total(): number {
    if (!this.counts) return this.runs.length;
    return Math.max(
      Object.values(this.counts).reduce((sum, n) => sum + n, 0),
      this.runs.length,
    );
  }

  /** How many rows there are, with those that were not fetched yet. */
  get height(): number {
    return this.total + this.rows.length - this.runs.length;
  }

  /** Start anew with these parameters and so many runs; what is shown stays until the answer is there. */
  async load(asked: RunsQuery, size = PAGE): Promise<void> {
    const query: RunsQuery = { ...asked, params: "1" };
    this.#query = query;
    this.#lacking = null;
    const generation = ++this.#generation;
    this.#abort?.abort();
    this.#abort = new AbortController();
    this.loading = true;
    try {
      const signal = this.#abort.signal;
      const page = await getJson("/api/v1/runs", { ...query, limit: size }, signal);
      if (generation !== this.#generation) return;
      this.runs = page.runs;
      if (page.metrics) {
        // From here on by their names, so that all pages have the same.
        this.common = page.metrics;
        this.#query = { ...query, summary_common: null, summary: page.metrics };
        this.#lacking = page.metrics.length < FEW_METRICS ? query : null;
      }
      this.#follows(page.next);
      learn(this.runs);
      this.#tell();
      this.loaded = true;
      this.error = "";
      this.loading = false;
      this.onloaded?.();
      void this.#findGoal(generation);
      if (query.parent !== "none") this.branches = new Map();
      await Promise.all([
        this.#count(generation, signal),
        this.#countChildren(page.runs, generation),
        this.#reloadBranches(),
      ]);
    } catch (error) {
      if (generation !== this.#generation) return;
      this.error = messageOf(error);
      this.loading = false;
    }
  }

  async #count(generation: number, signal?: AbortSignal): Promise<void> {
    const query = { ...this.#query, summary: [], params: null, limit: 1, count: "1" as const };
    const page = await getJson("/api/v1/runs", query, signal);
    if (generation === this.#generation) this.counts = page.count ?? null;
  }

  #tell(): void {
    if (!this.common) return;
    const telling = { common: this.common, runs: this.runs, goal: this.#goal };
    const columns = tellingColumns(telling, this.#query.order ?? "");
    // The same ones, also in another order: they stay where they are.
    if (!this.telling || columns.join() !== this.telling.join()) this.telling = columns;
  }

  /** What the sweep is after that these runs are of: their parent says so. */
  async #findGoal(generation: number): Promise<void> {
    if (!this.common) return;
    const parent = this.runs.find((run) => run.parent_run_id)?.parent_run_id;
    let sweep = this.runs.find((run) => goalOf(run));
    try {
      if (!sweep && parent) sweep = await getJson("/api/v1/runs/{run_id}", { run_id: parent });
    } catch {
      return; // it was deleted, or cannot be read: the columns do without
    }
    if (generation !== this.#generation) return;
    this.#goal = sweep ? goalOf(sweep) : null;
    this.#tell();
  }

  #follows(next: string | null): void {
    this.#next = next;
    this.more = next !== null;
  }

  /** Which of these have children, where the list shows them as a tree. */
  async #countChildren(runs: readonly Run[], generation: number): Promise<void> {
    if (this.#query.parent !== "none" || !runs.length) return;
    const answer = await getJson("/api/v1/child-counts", {
      run: runs.map((run) => run.run_id),
    });
    if (generation !== this.#generation) return;
    this.childCounts = new Map([...this.childCounts, ...Object.entries(answer.children)]);
  }

  /** Fetch until so many runs are there, or all. */
  async reach(count: number): Promise<void> {
    if (this.loading || !this.#next || this.runs.length >= count) return;
    const generation = this.#generation;
    this.loading = true;
    try {
      while (this.#next && this.runs.length < count) {
        const limit = count - this.runs.length > 3 * PAGE ? 1000 : PAGE;
        const page: RunPage = await getJson("/api/v1/runs", {
          ...this.#query,
          limit,
          after: this.#next,
        });
        if (generation !== this.#generation) return;
        this.#follows(page.next);
        const known = new Set(this.runs.map((run) => run.run_id));
        this.runs = [...this.runs, ...page.runs.filter((run) => !known.has(run.run_id))];
        learn(this.runs);
        await this.#countChildren(page.runs, generation);
      }
    } catch (error) {
      if (generation === this.#generation) this.error = messageOf(error);
    } finally {
      if (generation === this.#generation) this.loading = false;
    }
  }

  /** The ids of all runs that pass, at most 20,000. */
  async allIds(): Promise<string[]> {
    const ids: string[] = [];
    let after: string | null = null;
    do {
      const page: RunPage = await getJson("/api/v1/runs", {
        ...this.#query,
        summary: [],
        params: null,
        limit: 1000,
        after,
      });
      ids.push(...page.runs.map((run) => run.run_id));
      after = page.next;
    } while (after && ids.length < MOST_IDS);
    return ids;
  }

  /** Fetch some runs again where they stand, and those that came in front. */
  async refresh(shown: readonly string[], front: boolean): Promise<void> {
    const generation = this.#generation;
    const now = performance.now();
    const lacking = front || now - this.#lookedAt > METRICS_PAUSE ? this.#lacking : null;
    front ||= lacking !== null;
    if (front) this.#lookedAt = now;
    try {
      const again = shown.length
        ? await getJson("/api/v1/runs", {
            summary: this.#query.summary,
            params: "1",
            archived: "all",
            run: shown,
            limit: Math.min(shown.length, 1000),
          })
        : { runs: [], next: null };
      const first: RunPage = front
        ? await getJson("/api/v1/runs", { ...(lacking ?? this.#query), limit: 50 })
        : { runs: [], next: null };
      if (generation !== this.#generation) return;
      if (lacking && first.metrics && first.metrics.length > (this.common?.length ?? 0)) {
        this.common = first.metrics;
        this.#query = { ...this.#query, summary: first.metrics };
        if (first.metrics.length >= FEW_METRICS) this.#lacking = null;
      }
      const fresh = new Map([...again.runs, ...first.runs].map((run) => [run.run_id, run]));
      const known = new Set(this.runs.map((run) => run.run_id));
      const added = first.runs.filter((run) => !known.has(run.run_id));
      const renew = (run: Run) => fresh.get(run.run_id) ?? run;
      this.runs = [...added, ...this.runs.map(renew)];
      learn(this.runs);
      if (added.length || lacking) this.#tell();
      this.branches = new Map(
        [...this.branches].map(([id, branch]) => [id, { ...branch, children: branch.children.map(renew) }]),
      );
      if (front)
        await Promise.all([
          this.#count(generation),
          this.#countChildren(this.runs.slice(0, PAGE), generation),
          this.#reloadBranches(),
        ]);
    } catch {
      // The next change tries again; what is shown stays.
    }
  }

  /** Put a run that was edited where it stands. */
  replace(run: Run): void {
    const put = (held: Run) =>
      held.run_id === run.run_id
        ? {
            ...run,
            ...(held.summaries && { summaries: held.summaries }),
            ...(held.params && { params: held.params }),
          }
        : held;
    this.runs = this.runs.map(put);
    this.branches = new Map(
      [...this.branches].map(([id, branch]) => [id, { ...branch, children: branch.children.map(put) }]),
    );
  }

  /** Show a run's children below it, or no longer. */
  async toggle(parent: Run): Promise<void> {
    const next = new Map(this.branches);
    if (next.delete(parent.run_id)) {
      this.branches = next;
      return;
    }
    try {
      const branch = await this.#branch(parent);
      this.branches = new Map(this.branches).set(parent.run_id, branch);
      await this.#countChildren(branch.children, this.#generation);
    } catch (error) {
      say(`The children of ${parent.run_id} cannot be shown: ${messageOf(error)}`, undefined, true);
    }
  }

  async #branch(parent: Run): Promise<Branch> {
    const { order, summary, archived } = this.#query;
    const goal = goalOf(parent);
    const names = [
      ...new Set([...((summary as readonly string[] | undefined) ?? []), ...(goal ? [goal.metric] : [])]),
    ];
    const page = await getJson("/api/v1/runs", {
      parent: parent.run_id,
      order,
      archived,
      summary: names,
      params: "1",
      limit: MOST_CHILDREN,
    });
    return { children: page.runs, more: page.next !== null };
  }

  async #reloadBranches(): Promise<void> {
    const generation = this.#generation;
    const parents = this.rows.filter((row) => row.open).map((row) => row.run);
    const loaded = await Promise.all(
      parents.map(async (parent) => [parent.run_id, await this.#branch(parent)] as const),
    );
    if (generation === this.#generation)
      this.branches = new Map(loaded.filter(([id]) => this.branches.has(id)));
  }
}
