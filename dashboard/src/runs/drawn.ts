/** What sweeps say of how they drew their parameters. */
import type { Run } from "../lib/types";

interface Distribution {
  kind?: unknown;
  log?: unknown;
  of?: unknown;
}

/** Whether values are drawn by their exponents: evenly over the orders of magnitude, or normally distributed there. */
function isLog(drawn: unknown): boolean {
  if (!drawn || typeof drawn !== "object") return false;
  if (Array.isArray(drawn)) return /^q?log(uniform|normal)$/.test(String(drawn[0])); // as HyperDrive writes it
  const { kind, log, of } = drawn as Distribution;
  return kind === "LogUniform" || kind === "LogNormal" || (kind === "Integer" && log === true) || isLog(of);
}

/** Names of the parameters that sweeps, whose runs these are, drew from a range by its logarithm. */
export function logDrawn(sweeps: readonly Pick<Run, "properties">[]): Set<string> {
  const names = new Set<string>();
  for (const { properties } of sweeps)
    for (const [property, field] of [
      ["sweep", "space"],
      ["generator_config", "parameter_space"],
    ] as const)
      try {
        const said = JSON.parse(properties[property] ?? "{}") as Record<string, unknown> | null;
        for (const [name, drawn] of Object.entries(said?.[field] ?? {})) if (isLog(drawn)) names.add(name);
      } catch {
        // a property of that name which is no sweep's
      }
  return names;
}
