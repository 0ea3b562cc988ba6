/** Names of metrics: sections by prefix, natural order, search. */

const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

export function naturalOrder(a: string, b: string): number {
  return collator.compare(a, b) || (a < b ? -1 : a > b ? 1 : 0);
}

export interface Section {
  name: string;
  size: number;
  /** In natural order; put in order when first looked at: of thousands of names most stay out of sight. */
  readonly metrics: readonly string[];
}

/** Sections by what stands before the first slash; those without a slash come first. */
export function sections(names: readonly string[]): Section[] {
  const sections = new Map<string, string[]>();
  for (const name of names) {
    const at = name.indexOf("/");
    const section = at > 0 ? name.slice(0, at) : "";
    const held = sections.get(section);
    if (held) held.push(name);
    else sections.set(section, [name]);
  }
  return [...sections.entries()]
    .sort(([a], [b]) => (a === "" ? -1 : b === "" ? 1 : naturalOrder(a, b)))
    .map(([name, metrics]) => {
      let ordered: string[] | undefined;
      return {
        name: name || "metrics",
        size: metrics.length,
        get metrics() {
          return (ordered ??= metrics.sort(naturalOrder));
        },
      };
    });
}

/**
 * A test for names: `/pattern/` is a pattern with `.`, `*`, `|`, `^`, `$`; all else is looked for as words that must all occur.
 * The pattern is matched piece by piece in linear time, never as a backtracking regular expression.
 */
export function matcher(search: string): (name: string) => boolean {
  const text = search.trim().toLowerCase();
  if (!text) return () => true;
  if (text.length > 2 && text.startsWith("/") && text.endsWith("/")) {
    const alternatives = text.slice(1, -1).split("|").map(pattern);
    return (name) => alternatives.some((fits) => fits(name.toLowerCase()));
  }
  const words = text.split(/\s+/);
  return (name) => {
    const lower = name.toLowerCase();
    return words.every((word) => lower.includes(word));
  };
}

function pattern(source: string): (name: string) => boolean {
  const start = source.startsWith("^");
  const end = source.endsWith("$") && !source.endsWith("\\$");
  const body = source.slice(start ? 1 : 0, end ? -1 : undefined);
  const pieces = body.split(/\.[*+]/);
  return (name) => {
    let at = 0;
    for (const [i, piece] of pieces.entries()) {
      const last = i === pieces.length - 1;
      if (i === 0 && start) {
        if (!matchesAt(name, piece, 0)) return false;
        at = length(piece);
        if (last) return !end || at === name.length;
      } else if (last && end) {
        const from = name.length - length(piece);
        return from >= at && matchesAt(name, piece, from);
      } else {
        const place = find(name, piece, at);
        if (place < 0) return false;
        at = place + length(piece);
      }
    }
    return true;
  };
}

/** Letters of a piece: an escaped one, a dot (any), or itself. */
function letters(piece: string): (string | null)[] {
  const result: (string | null)[] = [];
  for (let i = 0; i < piece.length; i++) {
    if (piece[i] === "\\" && i + 1 < piece.length) result.push(piece[++i]!);
    else result.push(piece[i] === "." ? null : piece[i]!);
  }
  return result;
}

function length(piece: string): number {
  return letters(piece).length;
}

function matchesAt(name: string, piece: string, at: number): boolean {
  return letters(piece).every(
    (letter, i) => at + i < name.length && (letter === null || name[at + i] === letter),
  );
}

function find(name: string, piece: string, from: number): number {
  for (let at = from; at + length(piece) <= name.length; at++) if (matchesAt(name, piece, at)) return at;
  return -1;
}
