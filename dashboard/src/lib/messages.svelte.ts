/** Short messages on what was done, each for some seconds, with a way back where there is one. */
interface Message {
  id: number;
  text: string;
  bad: boolean;
  action?: { label: string; act: () => void };
}

const SECONDS = 8;
let next = 1;
let held: Message[] = $state([]);

export const messages = {
  get all(): readonly Message[] {
    return held;
  },
};

export function say(text: string, action?: Message["action"], bad = false): void {
  const id = next++;
  held = [...held.slice(-2), { id, text, bad, ...(action && { action }) }];
  // What went wrong stays until it is put away: it may have to be read to somebody.
  if (!bad) setTimeout(() => dismiss(id), SECONDS * 1000);
}

export function dismiss(id: number): void {
  held = held.filter((message) => message.id !== id);
}
