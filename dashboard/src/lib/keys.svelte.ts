/** Keys of a single letter may be switched off (WCAG 2.1.4): someone who dictates would set them off without meaning to. */
const STORED = "runstream-keys";

export const keys = $state({ letters: localStorage.getItem(STORED) !== "off" });

export function switchLetters(on: boolean): void {
  keys.letters = on;
  if (on) localStorage.removeItem(STORED);
  else localStorage.setItem(STORED, "off");
}

/** Whether a key press is text, meant for a control that reads keys itself, or a letter while letters are off. */
export function typing(event: KeyboardEvent): boolean {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return true;
  if (event.key.length === 1 && !keys.letters) return true;
  const target = event.target as HTMLElement | null;
  return !!target?.closest?.("input, textarea, select, [contenteditable], dialog, [popover]");
}
