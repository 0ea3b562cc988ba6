/** Selections of runs in addresses: a long one is kept by the server, and the address has its id. */
import { getJson, postJson } from "./api";

const LONG = 100; // some 4,000 letters

/** The parameters of an address that stands for these runs. */
export async function selectionParams(
  ids: readonly string[],
): Promise<{ runs: string | null; view: string | null }> {
  if (ids.length <= LONG) return { runs: ids.join(","), view: null };
  const view = (await (
    await postJson("/api/v1/views", { page: "compare", name: null, state: { runs: ids } })
  ).json()) as { id: string };
  return { runs: null, view: view.id };
}

/** The runs of a selection that the server keeps. */
export async function keptSelection(view: string): Promise<string[]> {
  const { state } = await getJson<{ state: { runs?: unknown } }>(`/api/v1/views/${encodeURIComponent(view)}`);
  return Array.isArray(state.runs) ? state.runs.filter((id) => typeof id === "string") : [];
}
