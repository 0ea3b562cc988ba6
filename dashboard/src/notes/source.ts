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

export function experimentNote(name: string, workspace: string): NoteSource {
  const at = { name, workspace };
  return {
    read: (version) => getJson("/api/v1/experiment-notes/{name}", { ...at, version: version ?? null }),
    write: (body) => sendJson("put", "/api/v1/experiment-notes/{name}", at, body),
    versions: async () => (await getJson("/api/v1/experiment-note-versions/{name}", at)).versions,
  };
}

export function report(id: string, workspace: string): NoteSource {
  const at = { report_id: id, workspace };
  return {
    read: (version) => getJson("/api/v1/reports/{report_id}", { ...at, version: version ?? null }),
    write: (body) => sendJson("put", "/api/v1/reports/{report_id}", at, body),
    versions: async () => (await getJson("/api/v1/reports/{report_id}/versions", at)).versions,
  };
}

const NOTHING: Note = {
  id: "",
  title: "",
  text: "",
  version: 0,
  author: "",
  created_utc: null,
  changed_utc: null,
};

/** A report that is begun: there is none before it is written. */
export function newReport(id: string, workspace: string): NoteSource {
  const written = report(id, workspace);
  return {
    ...written,
    read: (version) => (version === undefined ? Promise.resolve(NOTHING) : written.read(version)),
  };
}

/** An id for it that no other has. */
export function reportId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(9));
  return btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_");
}
