/** Commands of the palette: those of the pages, and those the shown page offers. */
import { untrack } from "svelte";

export interface Command {
  title: string;
  /** The key that does the same. */
  key?: string;
  act: () => void;
}

let offered: { owner: symbol; commands: () => Command[] }[] = $state.raw([]);

/** Offer commands while the caller's effect lives: `$effect(() => offer(() => [...]))`. */
export function offer(commands: () => Command[]): () => void {
  const owner = Symbol("commands");
  offered = [...untrack(() => offered), { owner, commands }];
  return () => (offered = offered.filter((offer) => offer.owner !== owner));
}

export function offeredCommands(): Command[] {
  return offered.flatMap((offer) => offer.commands());
}
