/** Which runs are selected: one by one, or from the last one up to another. */
import type { Run } from "../lib/types";

export class Selection {
  ids = $state.raw<ReadonlySet<string>>(new Set());
  #anchor = "";

  get size(): number {
    return this.ids.size;
  }

  has(id: string): boolean {
    return this.ids.has(id);
  }

  toggle(rows: readonly { run: Run }[], index: number, range: boolean): void {
    const id = rows[index]?.run.run_id;
    if (id === undefined) return;
    const next = new Set(this.ids);
    const from = range ? rows.findIndex((row) => row.run.run_id === this.#anchor) : -1;
    if (from >= 0)
      for (const row of rows.slice(Math.min(from, index), Math.max(from, index) + 1))
        next.add(row.run.run_id);
    else if (!next.delete(id)) next.add(id);
    this.#anchor = id;
    this.ids = next;
  }

  set(ids: Iterable<string>): void {
    this.ids = new Set(ids);
  }

  clear(): void {
    this.ids = new Set();
    this.#anchor = "";
  }
}

/** The selection of the pages of runs: it stays while one looks at a run or another experiment. */
export const selection = new Selection();
