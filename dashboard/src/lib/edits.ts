/** What people change about runs: names, tags, the archive, and asking them to stop. */
import { messageOf, sendJson } from "./api";
import { confirm } from "./confirm.svelte";
import { formatBytes } from "./format";
import { say } from "./messages.svelte";
import type { Run, RunEdit } from "./types";

/** Change one run; answers how it is now. */
export async function editRun(id: string, changes: RunEdit): Promise<Run> {
  return sendJson("patch", "/api/v1/runs/{run_id}", { run_id: id }, changes);
}

/** Change many runs alike; answers the ids of those that exist. */
export async function editRuns(ids: readonly string[], changes: RunEdit): Promise<string[]> {
  return (await sendJson("patch", "/api/v1/runs", {}, { runs: ids, changes })).changed;
}

/** Ask runs and their active descendants to stop; answers the new status of each that was active. */
async function cancelRuns(ids: readonly string[]): Promise<Record<string, string>> {
  return (await sendJson("post", "/api/v1/runs/cancel", {}, { runs: ids })).statuses;
}

/** "1 run", "12 runs". */
export function count(n: number, singular = "run", plural = `${singular}s`): string {
  return `${n.toLocaleString("en")} ${n === 1 ? singular : plural}`;
}

/** Into the archive or out of it, with a way back. `done`: called after each change, to show it. */
export async function archive(ids: readonly string[], archived: boolean, done: () => void): Promise<void> {
  try {
    const changed = await editRuns(ids, { archived });
    done();
    say(`${count(changed.length)} ${archived ? "archived" : "taken out of the archive"}.`, {
      label: "Undo",
      act: () => void archive(changed, !archived, done),
    });
  } catch (error) {
    say(messageOf(error), undefined, true);
  }
}

export async function cancel(ids: readonly string[], done: () => void): Promise<void> {
  try {
    const statuses = Object.values(await cancelRuns(ids));
    done();
    const asked = statuses.filter((status) => status === "CancelRequested").length;
    const ended = statuses.length - asked;
    const parts = [
      ended ? `${count(ended)} canceled` : "",
      asked ? `${count(asked)} asked to stop` : "",
    ].filter(Boolean);
    say(parts.length ? `${parts.join(", ")}.` : "None of these runs is active.");
  } catch (error) {
    say(messageOf(error), undefined, true);
  }
}

const MANY = 10; // from here on a word has to be typed

/** Delete runs with their descendants, after a question that says what goes. `done`: called when they are gone, with the ids. */
export async function remove(
  ids: readonly string[],
  done: (deleted: readonly string[]) => void,
): Promise<void> {
  try {
    const contents = await sendJson("post", "/api/v1/runs/delete", {}, { runs: ids, dry_run: true });
    if ("deleted" in contents) return; // a dry run deletes nothing
    if (contents.active) {
      say(
        `${count(contents.active)} of these ${contents.active === 1 ? "is" : "are"} still active. Cancel first, then delete.`,
        undefined,
        true,
      );
      return;
    }
    const whole = contents.runs + contents.descendants;
    const parts = [
      contents.descendants ? `their ${count(contents.descendants, "child run")}` : "",
      contents.points ? count(contents.points, "point") : "",
      contents.files ? `${count(contents.files, "file")} (${formatBytes(contents.bytes)})` : "",
    ].filter(Boolean);
    const yes = await confirm({
      title: `Delete ${count(contents.runs)}?`,
      text: `${parts.length ? `With ${parts.join(", ")}. ` : ""}This cannot be undone; to put runs out of sight only, archive them.`,
      act: `Delete ${count(whole)}`,
      ...(whole > MANY && { typed: "delete" }),
    });
    if (!yes) return;
    const answer = await sendJson("post", "/api/v1/runs/delete", {}, { runs: ids });
    if (!("deleted" in answer)) return;
    done(answer.deleted);
    say(`${count(answer.deleted.length)} deleted.`);
  } catch (error) {
    say(messageOf(error), undefined, true);
  }
}
