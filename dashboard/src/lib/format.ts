/** Numbers, times and names as people read them. */
import { Kind } from "./types";

const MISSING = "–";

/** A number with `digits` significant digits; an exponent from 1e5 and below 1e-3; ints stay ints. */
export function formatNumber(value: number | null | undefined, digits = 4): string {
  if (value === null || value === undefined) return MISSING;
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e5) return sign(String(value));
  if (size >= 1e5 || size < 1e-3) {
    const [mantissa = "", exponent = "0"] = value.toExponential(digits - 1).split("e");
    return sign(`${trimZeros(mantissa)}e${Number(exponent)}`);
  }
  return sign(size >= 10 ** digits ? value.toFixed(0) : trimZeros(value.toPrecision(digits)));
}

function trimZeros(text: string): string {
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

function sign(text: string): string {
  return text.replace(/^-/, "−").replace("e-", "e−");
}

/** A value whose kind is not known: an integer in full, else with `digits` significant digits. */
export function formatFull(value: number, digits: number): string {
  return Number.isSafeInteger(value) ? sign(value.toLocaleString("en")) : formatNumber(value, digits);
}

/** A value as its kind has it: an int in full, a bool as its word. */
export function formatValue(value: number | null, kind: number, digits = 6): string {
  if (value === null) return MISSING;
  if (kind === Kind.bool && (value === 0 || value === 1)) return value ? "true" : "false";
  if (kind === Kind.int && Number.isInteger(value)) return sign(value.toLocaleString("en"));
  return formatNumber(value, digits);
}

/** A step: 1.25M. */
export function formatStep(step: number): string {
  const size = Math.abs(step);
  for (const [unit, name] of [
    [1e9, "G"],
    [1e6, "M"],
    [1e4, "k"],
  ] as const) {
    if (size >= unit) {
      const divisor = name === "k" ? 1e3 : unit;
      return `${trimZeros((step / divisor).toPrecision(4))}${name}`;
    }
  }
  return Number.isInteger(step) ? String(step) : trimZeros(step.toPrecision(4));
}

/** Seconds as 1.2 s, 3 m 20 s, 2 h 5 m, 3 d 4 h. */
export function formatDuration(seconds: number | null): string {
  if (seconds === null || !Number.isFinite(seconds)) return MISSING;
  if (seconds < 0.001) return "0 s";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${trimZeros(seconds.toFixed(seconds < 10 ? 1 : 0))} s`;
  const whole = Math.round(seconds);
  const parts: [number, string][] = [
    [86400, "d"],
    [3600, "h"],
    [60, "m"],
    [1, "s"],
  ];
  const at = parts.findIndex(([unit]) => whole >= unit);
  const [unit, name] = parts[at]!;
  const rest = parts[at + 1];
  const first = Math.floor(whole / unit);
  const second = rest ? Math.floor((whole % unit) / rest[0]) : 0;
  return rest && second ? `${first} ${name} ${second} ${rest[1]}` : `${first} ${name}`;
}

/** Seconds between a run's start and its end, or now; null before its start. */
export function runSeconds(
  run: { start_time_utc: string | null; end_time_utc: string | null },
  now: number,
): number | null {
  if (!run.start_time_utc) return null;
  const end = run.end_time_utc ? Date.parse(run.end_time_utc) : now;
  return Math.max(0, (end - Date.parse(run.start_time_utc)) / 1000);
}

/** How long ago: 3 s ago, 5 m ago, 2 d ago, or the date when it is long ago. */
export function formatAgo(iso: string | null, now: number): string {
  if (!iso) return MISSING;
  const seconds = (now - Date.parse(iso)) / 1000;
  if (seconds < 1) return "now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} m ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  if (seconds < 30 * 86400) return `${Math.floor(seconds / 86400)} d ago`;
  return new Date(iso).toISOString().slice(0, 10);
}

/** Local date and time, with seconds. */
export function formatTime(iso: string | null): string {
  if (!iso) return MISSING;
  const time = new Date(iso);
  const two = (n: number) => String(n).padStart(2, "0");
  const date = `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())}`;
  return `${date} ${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
}

export function formatBytes(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  let size = bytes;
  while (size >= 1000 && at < units.length - 1) {
    size /= 1000;
    at += 1;
  }
  return `${at ? trimZeros(size.toPrecision(3)) : size} ${units[at]}`;
}

/** A long name with its middle cut out: ends tell names apart. */
export function cutMiddle(text: string, most: number): string {
  const letters = Array.from(text);
  if (letters.length <= most) return text;
  const head = Math.ceil((most - 1) / 2);
  return `${letters.slice(0, head).join("")}…${letters.slice(letters.length - (most - 1 - head)).join("")}`;
}

/** What to call a run. */
export function runName(run: { display_name: string | null; name: string | null; run_id: string }): string {
  return run.display_name || run.name || run.run_id;
}
