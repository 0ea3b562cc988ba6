/** Links that MLflow's client prints (`/#/experiments/1/runs/ID`), as addresses of pages here. */

/** The address of what a link's fragment names: a run, or an experiment; null: it is none of MLflow's. */
export function addressOf(fragment: string): string | null {
  const [, experiment, run] = /^#\/experiments\/(\d+)(?:\/runs\/([^/?#]+))?/.exec(fragment) ?? [];
  if (run) return `/runs/${run}`;
  if (experiment === undefined) return null;
  return experiment === "0" ? "/" : `/experiments/id/${experiment}`;
}
