import { getJson, sendJson } from "../lib/api";
import type { NewNote, Note, NoteVersion } from "../lib/types";

/** Where a note comes from and goes to. */
export interface NoteSource {
  /** The newest version, or the one named. */
  read: (version?: number) => Promise<Note>;
  /** Put a new version in place of the one that was read. */
  write: (body: NewNote) => Promise<Note>;
  /** Which there are, the newest first. */
  versions: () => Promise<readonly NoteVersion[]>;
}

export function runNote(id: string): NoteSource {
  return {
    read: (version) => getJson("/api/v1/runs/{run_id}/note", { run_id: id, version: version ?? null }),
    write: (body) => sendJson("put", "/api/v1/runs/{run_id}/note", { run_id: id }, body),
    versions: async () => (await getJson("/api/v1/runs/{run_id}/note-versions", { run_id: id })).versions,
  };
}
