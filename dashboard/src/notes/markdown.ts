import DOMPurify from "dompurify";
import { Marked } from "marked";

const marked = new Marked({
  gfm: true,
  renderer: {
    // As a character: no page of ours has a field that does nothing.
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
  },
});
const purifier = DOMPurify(window);
purifier.addHook("afterSanitizeAttributes", (node) => {
  if (!(node instanceof HTMLAnchorElement) || !node.getAttribute("href")) return;
  node.target = "_blank";
  node.rel = "noopener noreferrer";
});

/** Markdown as HTML that only shows: no scripts, frames, forms, styles or names, whatever HTML is in the text. */
export function toHtml(text: string): string {
  return purifier.sanitize(marked.parse(text, { async: false }), {
    USE_PROFILES: { html: true },
    FORBID_TAGS: [
      "style",
      "form",
      "input",
      "button",
      "select",
      "textarea",
      "option",
      "dialog",
      "audio",
      "video",
    ],
    FORBID_ATTR: ["style", "class", "id", "name", "target", "srcset"],
    ALLOW_DATA_ATTR: false,
    ALLOW_ARIA_ATTR: false,
  });
}
