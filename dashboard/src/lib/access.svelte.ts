/** What the token that let this browser in allows. Until it is known, everything: the server refuses what is not. */
import { getJson } from "./api";
import type { Access } from "./types";

const held = $state<{ access: Access }>({ access: { name: "", role: "admin", workspace: null } });

export const access = {
  get name(): string {
    return held.access.name;
  },
  /** The only workspace it is for; null: all. */
  get workspace(): string | null {
    return held.access.workspace;
  },
  /** Whether runs, experiments and views may be changed. */
  get write(): boolean {
    return held.access.role !== "read";
  },
  /** Whether runs may be deleted. */
  get remove(): boolean {
    return held.access.role === "admin";
  },
};

/** Ask the server. */
export async function learnAccess(): Promise<void> {
  try {
    held.access = await getJson("/api/v1/access");
  } catch {
    // signed out, or the server is away: the page says so itself
  }
}
