/** Put an open panel below a button, or above it where there is no room, `gap` pixels from it. */
export function placeBeside(panel: HTMLElement, button: HTMLElement, gap: number): void {
  const at = button.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = panel;
  const below = at.bottom + gap;
  const top = below + height <= innerHeight - 8 ? below : Math.max(8, at.top - height - gap);
  panel.style.left = `${Math.max(8, Math.min(at.left, innerWidth - width - 8))}px`;
  panel.style.top = `${top}px`;
}
