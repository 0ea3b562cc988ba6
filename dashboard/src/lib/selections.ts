/** Selections of runs in addresses: a long one is kept by the server, and the address has its id. */
import { getJson, sendJson } from "./api";

const LONG = 100; // some 4,000 letters

/** The parameters of an address that stands for these runs. */
export async function selectionParams(
  ids: readonly string[],
): Promise<{ runs: string | null; view: string | null }> {
  if (ids.length <= LONG) return { runs: ids.join(","), view: null };
  const view = await sendJson(
    "post",
    "/api/v1/views",
    {},
    { page: "compare", name: null, state: { runs: ids } },
  );
  return { runs: null, view: view.id };
}

/** The runs of a selection that the server keeps. */
export async function keptSelection(view: string): Promise<string[]> {
  const { state } = await getJson("/api/v1/views/{view_id}", { view_id: view });
  return Array.isArray(state?.runs) ? state.runs.filter((id) => typeof id === "string") : [];
}
