/** What is said of how far the importance of parameters can be believed. */
import type { Importance } from "../lib/types";

/** What an out-of-bag R² means; `warn`: the bars should not be believed. */
export function trustOf(r2: number | null): { text: string; warn: boolean } {
  if (r2 === null || r2 <= 0.05)
    return { text: "the parameters explain nothing, the bars are noise", warn: true };
  if (r2 < 0.3) return { text: "the parameters explain little", warn: true };
  return {
    text: r2 < 0.7 ? "the parameters explain part of it" : "the parameters explain most of it",
    warn: false,
  };
}

/** The runs an answer rests on. */
export function sizeOf({
  runs,
  considered,
  total,
}: Pick<Importance, "runs" | "considered" | "total">): string {
  const number = (count: number) => count.toLocaleString("en");
  const of = runs < considered ? ` of ${number(considered)}` : "";
  return `${number(runs)}${of} runs${considered < total ? `, the newest of ${number(total)}` : ""}`;
}
