/** The JSON of a figure. */
export function documentOf(bytes: ArrayBuffer): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw new Error(`The file is no JSON (${error instanceof Error ? error.message : String(error)}).`, {
      cause: error,
    });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new Error("The file is no figure: its JSON is no object.");
  return value as Record<string, unknown>;
}
