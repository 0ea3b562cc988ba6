import type { Pane } from "./Split.svelte";

/** What may be in sight of a workspace, as its buttons name it. */
export const PANES: readonly (readonly [pane: Pane, title: string, hint: string])[] = [
  ["left", "Table", "The table over the whole width (t)"],
  ["both", "Both", "Table and charts side by side"],
  ["right", "Charts", "The charts over the whole width (g)"],
];
