/** The address of a report's page; without an id, of the page that begins one. */
export function reportAddress(id: string, workspace: string): string {
  const where = workspace === "default" ? "" : `?workspace=${encodeURIComponent(workspace)}`;
  return (id ? `/reports/id/${encodeURIComponent(id)}` : "/reports/new") + where;
}

/** The address of the page with the notes of an experiment. */
export function experimentNotesAddress(id: string): string {
  return `/experiments/id/${id}/notes`;
}
