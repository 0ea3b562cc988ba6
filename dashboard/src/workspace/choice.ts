/**
 * Which runs of a workspace its charts show: all but some, or only some. Runs that come later are shown in the first case and not in
 * the second: a choice of certain runs stays what it is.
 */
export interface Choice {
  /** Whether `ids` are those that are shown; else those that are not. */
  only: boolean;
  ids: ReadonlySet<string>;
}

const NONE = "none"; // in the address: only, and no run

export const ALL: Choice = { only: false, ids: new Set() };

export function readChoice(hide: string | null, only: string | null): Choice {
  const text = only ?? hide ?? "";
  return { only: only !== null, ids: new Set(text === NONE ? [] : text.split(",").filter(Boolean)) };
}

/** As parameters of the address; a bare one shows all runs. */
export function writeChoice({ only, ids }: Choice): { hide: string | null; only: string | null } {
  const text = [...ids].join(",");
  return only ? { hide: null, only: text || NONE } : { hide: text || null, only: null };
}

export function shows(choice: Choice, id: string): boolean {
  return choice.ids.has(id) === choice.only;
}

/** Show a run, or no longer. */
export function toggled({ only, ids }: Choice, id: string): Choice {
  const next = new Set(ids);
  if (!next.delete(id)) next.add(id);
  return { only, ids: next };
}

/** Show only this run of `all`; all again where it is the only one. */
export function alone(choice: Choice, id: string, all: readonly string[]): Choice {
  const shown = all.filter((run) => shows(choice, run));
  return shown.length === 1 && shown[0] === id ? ALL : { only: true, ids: new Set([id]) };
}
