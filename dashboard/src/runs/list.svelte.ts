/** The list of runs as far as it was scrolled, kept up to date. Pages follow one another by cursor. */
import { getJson, messageOf, type Params } from "../lib/api";
import type { Run, RunPage } from "../lib/types";

const PAGE = 100;

export class RunList {
  runs = $state.raw<Run[]>([]);
  counts = $state.raw<Record<string, number> | null>(null);
  error = $state("");
  loading = $state(false);
  loaded = $state(false);
  #next: string | null = null;
  #query: Params = {};
  #generation = 0;
  #abort: AbortController | null = null;

  get total(): number {
    if (!this.counts) return this.runs.length;
    return Math.max(
      Object.values(this.counts).reduce((sum, n) => sum + n, 0),
      this.runs.length,
    );
  }

  get done(): boolean {
    return this.loaded && this.#next === null;
  }

  /** Start anew with these parameters; what is shown stays until the answer is there. */
  async load(query: Params): Promise<void> {
    this.#query = query;
    const generation = ++this.#generation;
    this.#abort?.abort();
    this.#abort = new AbortController();
    this.loading = true;
    try {
      const signal = this.#abort.signal;
      const page = await getJson<RunPage>("/api/v1/runs", { ...query, limit: PAGE }, signal);
      if (generation !== this.#generation) return;
      this.runs = page.runs;
      this.#next = page.next;
      this.loaded = true;
      this.error = "";
      this.loading = false;
      await this.#count(generation, signal);
    } catch (error) {
      if (generation !== this.#generation) return;
      this.error = messageOf(error);
      this.loading = false;
    }
  }

  async #count(generation: number, signal?: AbortSignal): Promise<void> {
    const page = await getJson<RunPage>("/api/v1/runs", { ...this.#query, summary: [], limit: 1, count: 1 }, signal);
    if (generation === this.#generation) this.counts = page.count ?? null;
  }

  /** Fetch until `wanted` runs are there, or all. */
  async reach(wanted: number): Promise<void> {
    if (this.loading || !this.#next || this.runs.length >= wanted) return;
    const generation = this.#generation;
    this.loading = true;
    try {
      while (this.#next && this.runs.length < wanted) {
        const limit = wanted - this.runs.length > 3 * PAGE ? 1000 : PAGE;
        const page: RunPage = await getJson<RunPage>("/api/v1/runs", { ...this.#query, limit, after: this.#next });
        if (generation !== this.#generation) return;
        this.#next = page.next;
        const known = new Set(this.runs.map((run) => run.run_id));
        this.runs = [...this.runs, ...page.runs.filter((run) => !known.has(run.run_id))];
      }
    } catch (error) {
      if (generation === this.#generation) this.error = messageOf(error);
    } finally {
      if (generation === this.#generation) this.loading = false;
    }
  }

  /** Fetch some runs again where they stand, and those that came in front. */
  async refresh(shown: readonly string[], front: boolean): Promise<void> {
    const generation = this.#generation;
    try {
      const again = shown.length
        ? await getJson<RunPage>("/api/v1/runs", { summary: this.#query.summary, archived: "all", run: shown, limit: Math.min(shown.length, 1000) })
        : { runs: [], next: null };
      const first = front ? await getJson<RunPage>("/api/v1/runs", { ...this.#query, limit: 50 }) : { runs: [], next: null };
      if (generation !== this.#generation) return;
      const fresh = new Map([...again.runs, ...first.runs].map((run) => [run.run_id, run]));
      const known = new Set(this.runs.map((run) => run.run_id));
      const added = first.runs.filter((run) => !known.has(run.run_id));
      this.runs = [...added, ...this.runs.map((run) => fresh.get(run.run_id) ?? run)];
      if (front) await this.#count(generation);
    } catch {
      // The next change tries again; what is shown stays.
    }
  }
}
