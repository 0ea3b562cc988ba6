/** How wide the columns were drawn, kept in this browser: by a column's id, `name` for that of names. */
const KEY = "runstream.widths";
const LEAST = 48;
const MOST = 1200;

function read(): Record<string, number> {
  try {
    const held: unknown = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    return Object.fromEntries(
      Object.entries(held ?? {}).filter((entry): entry is [string, number] => typeof entry[1] === "number"),
    );
  } catch {
    return {};
  }
}

const held = $state<{ by: Record<string, number> }>({ by: read() });

/** The width a column was given, in pixels; undefined: as wide as there is room. */
export function widthOf(id: string): number | undefined {
  return held.by[id];
}

/** Give a column a width; null: as wide as there is room again. */
export function setWidth(id: string, width: number | null): void {
  const { [id]: _, ...others } = held.by;
  held.by = width === null ? others : { ...others, [id]: Math.round(Math.max(LEAST, Math.min(MOST, width))) };
  try {
    localStorage.setItem(KEY, JSON.stringify(held.by));
  } catch {
    // no storage, or it is full: the width holds as long as the page
  }
}
