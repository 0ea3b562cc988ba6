/** Whether less or more of a metric is better, as far as its name says so. */
export type Goal = "min" | "max";

const LOWER = new Set(
  "loss losses err error errors mse rmse mae mape smape nll perplexity ppl wer cer fid latency seconds duration regret cost divergence kl logloss".split(
    " ",
  ),
);
const HIGHER = new Set(
  "acc accuracy auc auroc auprc f1 precision recall score r2 map iou miou dice bleu rouge reward return psnr ssim correlation throughput accuracies".split(
    " ",
  ),
);

/** By the last word of the name that says something: `val/loss`, `r2_score`, `valAccuracy`; null: the name does not say. */
export function goalByName(name: string): Goal | null {
  const words = name
    .replace(/([a-z0-9])([A-Z])/g, "$1 $2")
    .toLowerCase()
    .split(/[^a-z0-9]+/);
  const word = words.findLast((part) => LOWER.has(part) || HIGHER.has(part));
  if (word === undefined) return null;
  return LOWER.has(word) ? "min" : "max";
}

/** Which end of a statistic is the good one; null: none is. A "min" is looked at for its least unless the metric's goal is the other. */
export function goalOfStat(goal: Goal | null, stat: string): Goal | null {
  if (stat === "min" || stat === "max") return goal === null || goal === stat ? stat : null;
  return stat === "last" || stat === "mean" ? goal : null;
}

/** The places of the best of some values; none where fewer than two are numbers. */
export function bestPlaces(values: readonly (number | null)[], goal: Goal): number[] {
  const numbers = values.filter((value): value is number => value !== null && Number.isFinite(value));
  if (numbers.length < 2) return [];
  let best = numbers[0]!;
  for (const value of numbers) if (goal === "min" ? value < best : value > best) best = value;
  return values.flatMap((value, i) => (value === best ? [i] : []));
}
