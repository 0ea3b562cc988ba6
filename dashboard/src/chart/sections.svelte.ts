/** In which order the sections of charts stand and how large their charts are, kept in this browser, by a section's name. */
const KEY = "runstream.sections";
const MOST_KEPT = 500;

export const SIZES = ["small", "normal", "large"] as const;
export type Size = (typeof SIZES)[number];

/** How narrow a chart may be, and how high it is, in pixels. */
export const MEASURES: Record<Size, { least: number; height: number; wide: number }> = {
  small: { least: 220, height: 130, wide: 160 },
  normal: { least: 280, height: 200, wide: 260 },
  large: { least: 520, height: 340, wide: 400 },
};

interface Kept {
  order: string[];
  size: Record<string, Size>;
}

function read(): Kept {
  try {
    const held = JSON.parse(localStorage.getItem(KEY) ?? "{}") as Partial<Kept> | null;
    const order = Array.isArray(held?.order) ? held.order.filter((name) => typeof name === "string") : [];
    const size = Object.entries(held?.size ?? {}).filter(([, size]) => SIZES.includes(size));
    return { order, size: Object.fromEntries(size) };
  } catch {
    return { order: [], size: {} };
  }
}

let kept = $state.raw<Kept>(read());

function keep(next: Kept): void {
  const order = next.order.slice(0, MOST_KEPT);
  kept = { order, size: Object.fromEntries(Object.entries(next.size).slice(-MOST_KEPT)) };
  try {
    localStorage.setItem(KEY, JSON.stringify(kept));
  } catch {
    // no storage, or it is full: it holds as long as the page
  }
}

/** Sections in the order somebody gave them; those that were never moved follow as they are. */
export function inGivenOrder<T extends { name: string }>(sections: readonly T[]): T[] {
  if (!kept.order.length) return [...sections];
  const place = new Map(kept.order.map((name, i) => [name, i]));
  const of = (section: T) => place.get(section.name) ?? Infinity;
  return [...sections].sort((a, b) => (of(a) === of(b) ? 0 : of(a) - of(b)));
}

/** Move one of the sections that are there, in their present order, by one place. */
export function moveSection(name: string, by: -1 | 1, present: readonly string[]): void {
  const order = [...present];
  const at = order.indexOf(name);
  const to = at + by;
  if (at < 0 || to < 0 || to >= order.length) return;
  [order[at], order[to]] = [order[to]!, order[at]!];
  keep({ ...kept, order: [...order, ...kept.order.filter((section) => !order.includes(section))] });
}

export function sizeOf(name: string): Size {
  return kept.size[name] ?? "normal";
}

export function setSize(name: string, size: Size): void {
  const { [name]: _, ...others } = kept.size;
  keep({ ...kept, size: size === "normal" ? others : { ...others, [name]: size } });
}
