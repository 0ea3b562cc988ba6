/** The present, for "3 s ago"; moves once a second while the page is seen. */
export const clock = $state({ now: Date.now() });

setInterval(() => {
  if (!document.hidden) clock.now = Date.now();
}, 1000);
