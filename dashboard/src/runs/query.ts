/** The search box's language, as far as the box itself has to know it: where a part has a mistake, and what may be typed next. */

import { STATUSES } from "../lib/status";

interface Part {
  start: number;
  end: number;
  text: string;
  /** What is wrong with it; empty: nothing that is seen from here. The server has the last word. */
  error: string;
}

const STATUS_WORDS = new Set([...STATUSES.map((status) => status.toLowerCase()), "done", "cancelled"]);
const STATS = ["last", "min", "max", "mean", "first", "count"] as const;

/** Fields before a colon, and what stands behind it. */
const FIELDS: readonly (readonly [name: string, hint: string])[] = [
  ["status", "running, failed …"],
  ["tag", "key, key=value or key<0.1"],
  ["since", "started within 7d, or since 2026-01-31"],
  ["before", "started before that"],
  ["experiment", "its name"],
  ["target", "a compute target"],
  ["type", "a type of run"],
  ["property", "key or key=value"],
  ["param", "an argument of the script"],
  ["longer", "took longer than 1h"],
  ["shorter", "took less than 90s"],
  ["parent", "a run id, or none"],
  ["run", "run ids"],
  ["is", "archived or any"],
];
const FIELD_NAMES = new Set(FIELDS.map(([name]) => name));

/** Examples with what they find, for the help. */
export const EXAMPLES: readonly (readonly [text: string, meaning: string])[] = [
  ['ridge "two words"', "in the name, id, experiment, description or a tag's value"],
  ["status:running,failed", "one of these statuses"],
  ["loss<0.1", "the last value of a metric; also <=, >, >=, =, !="],
  ["val/loss.min<=0.2", "its min, max, mean, first or count"],
  ['"epoch time".max>5', "a metric whose name has spaces"],
  ["tag:model=ridge", "a tag with that value; tag:model: has the tag"],
  ["tag:lr<=0.01", "a tag that is such a number"],
  ["property:commit=1a2b", "the same for properties"],
  ["param:opt.lr<=0.01", "a parameter that is such a number; param:opt=adam: that is this"],
  ["since:7d", "started within 7 days; m, h, d, w, or a date"],
  ["longer:1h", "took longer, or does so by now; shorter: likewise"],
  ["-status:failed", "a minus: what must not hold"],
  ["parent:none", "no child runs; parent:RUN_ID the children of one"],
  ["is:archived", "from the archive; is:any both"],
];

const LABELS = new Set(["tag", "property", "param"]);
const LABEL = /^((?:"(?:[^"\\]|\\.)*"|[^"<>=!]|!(?!=))+)(<=|>=|!=|==|<|>|=)(.*)$/s;
const PART = /(?:[^\s"]|"(?:[^"\\]|\\.)*")+/g;
const COMPARISON = /^((?:"(?:[^"\\]|\\.)*"|[^"<>=!]|!(?!=))*)(<=|>=|!=|==|<|>|=)(.*)$/s;

/** The parts of what was typed, as the server splits it. A quote that is not closed is a part with a mistake. */
export function parts(text: string): Part[] {
  const pieces: Part[] = [];
  for (const match of text.matchAll(PART))
    pieces.push({
      start: match.index,
      end: match.index + match[0].length,
      text: match[0],
      error: mistake(match[0]),
    });
  for (let i = 0; i < text.length; i++) {
    if (text[i] === '"' && !pieces.some((part) => i >= part.start && i < part.end)) {
      pieces.push({ start: i, end: text.length, text: text.slice(i), error: "this quote is not closed" });
      break;
    }
  }
  return pieces.sort((a, b) => a.start - b.start);
}

/** The first mistake, for the line below the box. */
export function firstMistake(text: string): string {
  const part = parts(text).find((piece) => piece.error);
  return part ? `${part.text}: ${part.error}` : "";
}

function mistake(part: string): string {
  if (part.length > 1 && part.startsWith("-")) return mistake(part.slice(1));
  if (part.startsWith('"') && part.endsWith('"')) return "";
  const colon = part.indexOf(":");
  const field = part.slice(0, colon);
  if (colon > 0 && FIELD_NAMES.has(field)) {
    const value = plain(part.slice(colon + 1));
    if (!value) return "something is missing after the colon";
    if (field === "status") {
      const wrong = value.split(",").find((word) => !STATUS_WORDS.has(word.toLowerCase()));
      return wrong === undefined
        ? ""
        : `'${wrong}' is no status; use ${STATUSES.slice(0, 6).join(", ").toLowerCase()} …`;
    }
    if (field === "since" || field === "before") {
      if (/^\d+[mhdw]$/.test(value) || (/^\d{4}-?(\d\d|W)/.test(value) && !Number.isNaN(Date.parse(value))))
        return "";
      return `'${value}' is no time; use e.g. 30m, 12h, 7d, 2w or 2026-01-31`;
    }
    if ((field === "longer" || field === "shorter") && !/^\d+(\.\d*)?[smhdw]$/.test(value))
      return `'${value}' is no duration; use e.g. 90s, 30m, 2h, 1d`;
    const compared = LABELS.has(field) ? LABEL.exec(part.slice(colon + 1)) : null;
    if (compared && !["=", "!="].includes(compared[2]!) && !isNumber(plain(compared[3]!)))
      return `'${plain(compared[3]!)}' is no number`;
    if (field === "is" && !["archived", "any", "active"].includes(value)) return "use is:archived or is:any";
    return "";
  }
  const compared = COMPARISON.exec(part);
  if (compared && !plain(compared[1]!)) return "the name of a metric is missing";
  if (compared && !isNumber(compared[3]!)) return `'${compared[3]}' is no number`;
  if (!compared && /^[A-Za-z_]+:(?!\/\/)/.test(part))
    return `there is no field ${field}:; use quotes to look for it as a text`;
  return "";
}

function isNumber(text: string): boolean {
  const trimmed = text.trim().replace(/(?<=\d)_(?=\d)/g, "");
  return (
    /^[+-]?(inf|infinity)$/i.test(trimmed) ||
    (/^[+-]?[\d.]/.test(trimmed) && !/^[+-]?0[xbo]/i.test(trimmed) && Number.isFinite(Number(trimmed)))
  );
}

function plain(text: string): string {
  return text.replace(/"((?:[^"\\]|\\.)*)"/g, (_, inner: string) => inner.replace(/\\(.)/g, "$1"));
}

/** A name as it is typed: in quotes when it has spaces, or what would be taken for a comparison. */
export function quoted(name: string): string {
  return /[\s"<>=]|!=|^-/.test(name) ? `"${name.replace(/["\\]/g, "\\$&")}"` : name;
}

/** A term for a tag or property with a value. */
export function keyTerm(kind: "tag" | "property" | "param", key: string, value: string | null): string {
  return value === null ? `${kind}:${quoted(key)}` : `${kind}:${quoted(key)}=${quoted(value)}`;
}

/** The query with a term, or without it when it is there already; `replace`: take out other terms that begin so. */
export function toggleTerm(text: string, term: string, replace = ""): string {
  const held = parts(text).map((part) => part.text);
  const without = held.filter((part) => part !== term && !(replace && part.startsWith(replace)));
  return (held.includes(term) ? without : [...without, term]).join(" ");
}

/** What can be typed where the cursor is. */
interface Place {
  /** The part that a suggestion takes the place of. */
  start: number;
  end: number;
  kind: "term" | "stat" | "value" | "key" | "keyValue";
  /** The field before the colon. */
  field: string;
  /** The key before the equals sign; the metric before the dot. */
  key: string;
  /** What was typed of it. */
  typed: string;
}

export function placeAt(text: string, cursor: number): Place {
  const part = parts(text).find((piece) => piece.start <= cursor && cursor <= piece.end);
  let start = part?.start ?? cursor;
  const end = part?.end ?? cursor;
  const minus = text[start] === "-" && start < cursor ? 1 : 0;
  start += minus;
  const before = text.slice(start, cursor);
  const none = { start, end, field: "", key: "" };
  const colon = before.indexOf(":");
  const field = before.slice(0, colon);
  if (colon > 0 && FIELD_NAMES.has(field)) {
    const rest = before.slice(colon + 1);
    if (LABELS.has(field)) {
      const equals = rest.indexOf("=");
      if (equals >= 0)
        return {
          ...none,
          field,
          kind: "keyValue",
          key: plain(rest.slice(0, equals)),
          typed: rest.slice(equals + 1).replaceAll('"', ""),
        };
      return { ...none, field, kind: "key", typed: rest.replaceAll('"', "") };
    }
    const comma = field === "status" ? rest.lastIndexOf(",") + 1 : 0;
    return {
      ...none,
      field,
      kind: "value",
      key: rest.slice(0, comma),
      typed: rest.slice(comma).replaceAll('"', ""),
    };
  }
  const dot = /^(.+)\.([a-z]*)$/.exec(before);
  if (dot && STATS.some((stat) => stat.startsWith(dot[2]!)))
    return { ...none, kind: "stat", key: dot[1]!, typed: dot[2]! };
  return { ...none, kind: "term", typed: before.replaceAll('"', "") };
}

export interface Suggestion {
  /** What takes the part's place. */
  text: string;
  hint: string;
  /** Whether the part is finished by it: a blank follows. */
  done: boolean;
}

export interface Known {
  experiments: readonly string[];
  targets: readonly string[];
  types: readonly string[];
  tags: ReadonlyMap<string, readonly string[]>;
  properties: ReadonlyMap<string, readonly string[]>;
  parameters: ReadonlyMap<string, readonly string[]>;
  metrics: readonly string[];
}

const MOST = 12;

function keysOf(field: string, known: Known): ReadonlyMap<string, readonly string[]> {
  return field === "tag" ? known.tags : field === "param" ? known.parameters : known.properties;
}

/** What may stand at that place, best first. */
export function suggestions(place: Place, known: Known): Suggestion[] {
  const { typed, field } = place;
  const fits = (name: string) => name.toLowerCase().includes(typed.toLowerCase()) && name !== typed;
  const first = (names: readonly string[]) =>
    [...names.filter(fits)]
      .sort((a, b) => Number(begins(b, typed)) - Number(begins(a, typed)))
      .slice(0, MOST);
  const values = (names: readonly string[]) =>
    first(names).map((name) => ({ text: `${field}:${place.key}${quoted(name)}`, hint: "", done: true }));
  switch (place.kind) {
    case "key": {
      const keys = keysOf(field, known);
      return first([...keys.keys()]).map((key) => ({
        text: `${field}:${quoted(key)}`,
        hint: `${keys.get(key)!.slice(0, 3).join(", ")}`,
        done: false,
      }));
    }
    case "keyValue": {
      const keys = keysOf(field, known);
      return first(keys.get(place.key) ?? []).map((value) => ({
        text: `${field}:${quoted(place.key)}=${quoted(value)}`,
        hint: "",
        done: true,
      }));
    }
    case "stat":
      return STATS.filter((stat) => stat.startsWith(typed)).map((stat) => ({
        text: `${place.key}.${stat}<`,
        hint: "a statistic of the metric",
        done: false,
      }));
    case "value":
      switch (field) {
        case "status":
          return values(STATUSES.map((status) => status.toLowerCase()));
        case "experiment":
          return values(known.experiments);
        case "target":
          return values(known.targets);
        case "type":
          return values(known.types);
        case "since":
        case "before":
          return values(["1h", "24h", "7d", "30d"]);
        case "longer":
        case "shorter":
          return values(["1m", "10m", "1h", "1d"]);
        case "is":
          return values(["archived", "any"]);
        case "parent":
          return values(["none"]);
        default:
          return [];
      }
    default: {
      const fields = FIELDS.filter(([name]) => name.startsWith(typed.toLowerCase())).map(([name, hint]) => ({
        text: `${name}:`,
        hint,
        done: false,
      }));
      if (!typed) return fields.slice(0, 6);
      const metrics = first(known.metrics).map((name) => ({
        text: `${quoted(name)}<`,
        hint: "metric",
        done: false,
      }));
      const tags = first([...known.tags.keys()]).map((key) => ({
        text: `tag:${quoted(key)}`,
        hint: "tag",
        done: false,
      }));
      const given = first([...known.parameters.keys()]).map((key) => ({
        text: `param:${quoted(key)}`,
        hint: "parameter",
        done: false,
      }));
      return [...fields, ...metrics, ...tags, ...given].slice(0, MOST);
    }
  }
}

function begins(name: string, typed: string): boolean {
  return name.toLowerCase().startsWith(typed.toLowerCase());
}

/** The text with a suggestion in its place, and where the cursor then stands. */
export function accept(text: string, place: Place, chosen: Suggestion): [text: string, cursor: number] {
  const tail = text.slice(place.end);
  const blank = chosen.done && !tail.startsWith(" ") ? " " : "";
  const head = text.slice(0, place.start) + chosen.text + blank;
  return [head + tail, head.length];
}
