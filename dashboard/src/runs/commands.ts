/** What the command palette offers on the list of runs. */
import { access } from "../lib/access.svelte";
import type { Command } from "../lib/commands.svelte";
import { archive, remove } from "../lib/edits";
import { setParams } from "../lib/route.svelte";
import { toggleTerm } from "./query";
import { selection } from "./selection.svelte";

interface Page {
  query: string;
  charts: boolean;
  tree: boolean;
  onsearch: () => void;
  onchoose: () => void;
  oncompare: () => void;
  onchanged: () => void;
  ondeleted: (ids: readonly string[]) => void;
}

export function pageCommands(page: Page): Command[] {
  const { query, charts, tree } = page;
  return [
    { title: "Search runs", key: "/", act: page.onsearch },
    { title: "Choose columns", act: page.onchoose },
    {
      title: charts ? "Hide the sweep charts" : "Show sweep charts",
      act: () => setParams({ plot: charts ? null : "parallel" }, true),
    },
    {
      title: tree ? "Show all runs in one list" : "Group children under their parents",
      act: () => setParams({ tree: tree ? null : "1" }, true),
    },
    {
      title: "Show the archive",
      act: () => setParams({ q: toggleTerm(query, "is:archived", "is:") }, true),
    },
    ...(selection.size ? selectionCommands(page) : []),
  ];
}

function selectionCommands(page: Page): Command[] {
  const count = selection.size;
  const all: Command[] = [{ title: `Compare ${count} selected`, key: "c", act: page.oncompare }];
  if (access.write)
    all.push({
      title: `Archive ${count} selected`,
      act: () => void archive([...selection.ids], true, page.onchanged),
    });
  if (access.remove)
    all.push({
      title: `Delete ${count} selected`,
      act: () => void remove([...selection.ids], page.ondeleted),
    });
  return [...all, { title: "Clear the selection", key: "Esc", act: () => selection.clear() }];
}
