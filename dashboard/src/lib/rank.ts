/** Which metrics say most of how good a run is, as far as their names tell. */
import { definitions } from "./definitions.svelte";
import type { Section } from "./names";

const VALIDATION = new Set("val valid validation dev test eval evaluation holdout heldout".split(" "));
const TRAINING = new Set("train training tr".split(" "));
/** What counts the training, or the machine it ran on. */
const BESIDE = new Set("epoch epochs step steps iteration lr time system sys gpu cpu memory grad".split(" "));

function words(name: string): string[] {
  return name
    .replace(/([a-z0-9])([A-Z])/g, "$1 $2")
    .toLowerCase()
    .split(/[^a-z0-9]+/);
}

/** Whether one of a name's words is among some. */
export const has = (name: string, among: ReadonlySet<string>) => words(name).some((word) => among.has(word));

/** How early a metric is shown, the less the earlier; `goal`: the one a sweep is after. */
export function rankOf(name: string, goal?: string): number {
  if (name === goal) return 0;
  const good = definitions().goal(name) !== null;
  if (has(name, VALIDATION)) return good ? 1 : 3;
  if (has(name, TRAINING)) return good ? 4 : 6;
  if (has(name, BESIDE)) return 7;
  return good ? 2 : 5;
}

const MOST_NAMES = 50; // of a section, that say what it is of
const MOST_RANKED = 2000;

/** Sections of charts, those that tell how good the runs are first: validation before training, the machine last. */
export function tellingSections<T extends Section>(sections: readonly T[]): T[] {
  // Of thousands of names most stay out of sight, and are not looked at.
  if (sections.reduce((sum, section) => sum + section.size, 0) > MOST_RANKED) return [...sections];
  const ranked = sections.map((section) => ({
    section,
    rank: Math.min(...section.metrics.slice(0, MOST_NAMES).map((name) => rankOf(name))),
  }));
  return ranked.sort((a, b) => a.rank - b.rank).map(({ section }) => section);
}
