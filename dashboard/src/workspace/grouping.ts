/** What the runs of a workspace can be put in groups by, and the groups. */
import { groupsOf } from "../compare/groups";
import { statusLook } from "../lib/status";
import type { Run } from "../lib/types";
import { parametersOf } from "../run/facts";
import { tellingLabels } from "../runs/telling";

const MOST_CHOICES = 30;
const MOST_GROUPS = 30; // so many lines can be told apart
const NONE = "–";

type Values = Pick<Run, "status" | "tags"> & { parameters: ReadonlyMap<string, string | null> };

function valuesOf(run: Run): Values {
  return { status: run.status, tags: run.tags, parameters: new Map(parametersOf(run)) };
}

/** `status`, `param:NAME` or `tag:NAME` of a run. */
function valueOf({ status, tags, parameters }: Values, by: string): string {
  if (by === "status") return statusLook(status).word;
  const name = by.slice(by.indexOf(":") + 1);
  if (by.startsWith("tag:")) return name in tags ? (tags[name] ?? "✓") : NONE;
  return parameters.get(name) ?? NONE;
}

/** How it is called. */
export function titleOf(by: string): string {
  return by.slice(by.indexOf(":") + 1);
}

/** The groups of runs by one of `choicesOf`: each value with its runs, in natural order. */
export function grouped(runs: readonly Run[], by: string): [value: string, members: string[]][] {
  return groupsOf(runs, (run) => valueOf(valuesOf(run), by));
}

/** What puts these runs into some groups, and not each in one of its own. */
export function choicesOf(runs: readonly Run[]): string[] {
  const differing = ["status", ...tellingLabels(runs, MOST_CHOICES)];
  return differing.filter((by) => {
    const count = new Set(runs.map((run) => valueOf(valuesOf(run), by))).size;
    return count > 1 && count < runs.length && count <= MOST_GROUPS;
  });
}
