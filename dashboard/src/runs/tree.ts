/** Runs as rows: below an opened parent stand its children. */
import { toNumber, type Run } from "../lib/types";

export interface Branch {
  children: readonly Run[];
  /** Whether the server has more than were fetched. */
  more: boolean;
}

export interface Row {
  run: Run;
  depth: number;
  /** How many children it has; 0 where they are not shown as such. */
  children: number;
  open: boolean;
  /** Whether only the first of its children are there. */
  cut: boolean;
  /** Whether it is the best of its siblings, by the metric its parent is after. */
  best: boolean;
}

const DEEPEST = 8;

/** The rows of a list, with the branches that are open. */
export function treeRows(
  runs: readonly Run[],
  branches: ReadonlyMap<string, Branch>,
  counts: ReadonlyMap<string, number>,
): Row[] {
  const rows: Row[] = [];
  const add = (run: Run, depth: number, best: boolean) => {
    const branch = depth < DEEPEST ? branches.get(run.run_id) : undefined;
    const counted = counts.get(run.run_id) ?? 0;
    const cut = branch?.more ?? false;
    rows.push({
      run,
      depth,
      children: branch && !cut ? branch.children.length : counted,
      open: branch !== undefined,
      cut,
      best,
    });
    if (!branch) return;
    const winner = bestChild(run, branch.children);
    for (const child of branch.children) add(child, depth + 1, child.run_id === winner);
  };
  for (const run of runs) add(run, 0, false);
  return rows;
}

export interface Goal {
  metric: string;
  maximize: boolean;
}

/** What a sweep is after, as its parent says in the property `primary_metric_config`. */
export function goalOf(parent: Run): Goal | null {
  try {
    const config = JSON.parse(parent.properties.primary_metric_config ?? "null") as {
      name?: unknown;
      goal?: unknown;
    } | null;
    if (typeof config?.name !== "string") return null;
    return { metric: config.name, maximize: String(config.goal).toLowerCase().startsWith("max") };
  } catch {
    return null;
  }
}

/** The best child: the one its sweep named, else by the sweep's metric; null where nothing says what is good. */
export function bestChild(parent: Run, children: readonly Run[]): string | null {
  const named = parent.tags.best_run_id ?? parent.properties.best_child_run_id;
  if (named && children.some((child) => child.run_id === named)) return named;
  const goal = goalOf(parent);
  if (!goal) return null;
  let best: [number, string] | null = null;
  for (const child of children) {
    const summary = child.summaries?.[goal.metric];
    const value = toNumber(summary?.[goal.maximize ? "max" : "min"]);
    if (value === null || !Number.isFinite(value)) continue;
    if (!best || (goal.maximize ? value > best[0] : value < best[0])) best = [value, child.run_id];
  }
  return best?.[1] ?? null;
}
