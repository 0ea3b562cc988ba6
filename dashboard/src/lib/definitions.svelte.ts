/**
 * What the runs in sight say of their metrics (`define_metric`): which metric is their x, what of them counts, and which end is the good
 * one. Where they say nothing, a metric's name tells the good end.
 */
import { goalByName, type Goal } from "./goal";
import type { Run, Stat } from "./types";

interface Definition {
  step_metric?: string;
  summary?: readonly string[];
  goal?: Goal;
}

/** Definitions by name; one with `*` at its end is of all that begin alike. */
type Defined = Record<string, Definition>;

const STATS: readonly string[] = ["min", "max", "mean", "first", "last"];

/** What can be read of a definition: details may hold anything. */
function readDefinition(said: unknown): Definition {
  if (!said || typeof said !== "object") return {};
  const { step_metric, summary, goal } = said as Record<string, unknown>;
  return {
    ...(typeof step_metric === "string" && step_metric && { step_metric }),
    ...(Array.isArray(summary) && { summary: summary.filter((stat) => typeof stat === "string") }),
    ...((goal === "min" || goal === "max") && { goal }),
  };
}

/** What runs say together: of two that say it differently the newer one counts. */
export function definedBy(runs: readonly Pick<Run, "details" | "created_utc">[]): Defined {
  const saying = runs
    .flatMap(({ details, created_utc }) => {
      const said = details.metric_definitions;
      return said && typeof said === "object" ? [{ said, at: created_utc ?? "" }] : [];
    })
    .sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0));
  const all = Object.create(null) as Defined; // a metric may have any name
  for (const { said } of saying)
    for (const [name, definition] of Object.entries(said))
      all[name] = { ...all[name], ...readDefinition(definition) };
  return all;
}

export class Definitions {
  readonly #exact: ReadonlyMap<string, Definition>;
  readonly #globs: readonly (readonly [start: string, definition: Definition])[];
  readonly #steps: ReadonlySet<string>;

  constructor(defined: Defined) {
    const entries = Object.entries(defined);
    this.#exact = new Map(entries.filter(([name]) => !name.endsWith("*")));
    this.#globs = entries
      .filter(([name]) => name.endsWith("*"))
      .map(([name, definition]) => [name.slice(0, -1), definition] as const)
      .sort(([a], [b]) => b.length - a.length);
    this.#steps = new Set(entries.flatMap(([, { step_metric }]) => (step_metric ? [step_metric] : [])));
  }

  /** Its own definition, or that of the longest beginning; what is a step of others has only its own. */
  #of(name: string): Definition {
    const own = this.#exact.get(name);
    if (own || this.#steps.has(name)) return own ?? {};
    return this.#globs.find(([start]) => name.startsWith(start))?.[1] ?? {};
  }

  isStep(name: string): boolean {
    return this.#steps.has(name);
  }

  /** Whether any metric is the x of others. */
  get steps(): boolean {
    return this.#steps.size > 0;
  }

  /** The metric that is a metric's x; null: the step is. */
  step(name: string): string | null {
    const step = this.#of(name).step_metric;
    return step && step !== name ? step : null;
  }

  /** Which end of a metric is the good one; null: nobody says. */
  goal(name: string): Goal | null {
    return this.#of(name).goal ?? goalByName(name);
  }

  /** What of a metric lists show; null: they need not show it; undefined: nobody says. */
  stat(name: string): Stat | null | undefined {
    const said = this.#of(name).summary?.[0];
    if (said === "none") return null;
    if (said === "best") return this.goal(name) ?? "last";
    return said !== undefined && STATS.includes(said) ? (said as Stat) : undefined;
  }
}

let text = $state("{}");
const known = $derived(new Definitions(JSON.parse(text) as Defined));

/** Look at the runs that are shown now. */
export function learn(runs: readonly Run[]): void {
  text = JSON.stringify(definedBy(runs));
}

/** What is known of the runs that are shown. */
export function definitions(): Definitions {
  return known;
}
