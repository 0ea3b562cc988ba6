/** Where a logged image or curve lies: the text value holds the artifact's address, its last part is the run's file. */

/** The run's own path in an address like `aml://artifactId/ExperimentRun/dcid.<run>/images/a.png`, or a plain path. */
export function artifactPath(value: string, runId: string): string {
  const at = value.indexOf(`${runId}/`);
  if (at >= 0) return value.slice(at + runId.length + 1);
  return value.replace(/^[a-z]+:\/\/[^/]*\//, "");
}
