/** Tags as they are edited: rows of keys and values, and what they change. */
import type { TagChanges } from "./types";

export interface TagRow {
  key: string;
  value: string;
  /** A tag without a value, as set by `run.tag("key")`: stays one unless a value is typed. */
  plain: boolean;
}

/** Tags as rows. */
export function tagRows(tags: Readonly<Record<string, string | null>>): TagRow[] {
  return Object.entries(tags).map(([key, value]) => ({ key, value: value ?? "", plain: value === null }));
}

/** What the rows change about these tags, null for nothing; throws an Error that says what is wrong with them. */
export function tagChanges(
  before: Readonly<Record<string, string | null>>,
  rows: readonly TagRow[],
): TagChanges | null {
  const after = new Map<string, string | null>();
  for (const row of rows) {
    const key = row.key.trim();
    if (!key && !row.value) continue;
    if (!key) throw new Error(`The tag of the value "${row.value}" has no name.`);
    if (after.has(key)) throw new Error(`There are two tags named "${key}".`);
    after.set(key, row.plain ? null : row.value);
  }
  const set = Object.fromEntries(
    [...after].filter(([key, value]) => !(key in before) || before[key] !== value),
  );
  const remove = Object.keys(before).filter((key) => !after.has(key));
  if (!Object.keys(set).length && !remove.length) return null;
  return { ...(Object.keys(set).length && { set }), ...(remove.length && { remove }) };
}
