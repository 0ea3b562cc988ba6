/** The alerts of a run, looked at again when its status or steps change. */
import { getJson } from "../lib/api";
import { concerns, onChange } from "../lib/live.svelte";
import type { RunAlert } from "../lib/types";

export class Told {
  alerts = $state.raw<readonly RunAlert[]>([]);
  readonly #run: string;

  constructor(run: string) {
    this.#run = run;
    void this.load();
    $effect(() => {
      const only: ReadonlySet<string> = new Set([run]);
      let waiting: ReturnType<typeof setTimeout> | undefined;
      const stop = onChange((change) => {
        // What rules raise follows the change by a moment.
        if (concerns(change, "status", only))
          waiting ??= setTimeout(() => ((waiting = undefined), void this.load()), 1500);
      });
      return () => {
        stop();
        clearTimeout(waiting);
      };
    });
  }

  async load(): Promise<void> {
    try {
      this.alerts = (await getJson("/api/v1/runs/{run_id}/alerts", { run_id: this.#run })).alerts;
    } catch {
      // the page says itself what is wrong
    }
  }
}
