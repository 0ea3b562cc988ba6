import DOMPurify from "dompurify";
import { Marked, type Token, type Tokens } from "marked";
import { escaped } from "../chart/take";
import { isEmbed, type Block } from "./embed";

/** A part of a note: HTML that only shows, or a block that is shown by itself. */
type Piece = { html: string } | { block: Block };

const marked = new Marked({
  gfm: true,
  renderer: {
    // As a character: no page of ours has a field that does nothing.
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
    // Those that stand by themselves are taken out before.
    code: ({ lang, text }) =>
      isEmbed(lang)
        ? `<p><strong>This is not shown: a block of runstream stands by itself, not in a list or a quotation.</strong></p><pre>${escaped(text)}</pre>`
        : false,
  },
});
const purifier = DOMPurify(window);
purifier.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName === "A" && node.hasAttribute("href")) {
    node.setAttribute("target", "_blank");
    node.setAttribute("rel", "noopener noreferrer");
  } else if (node.tagName === "IMG" && !isOurs(node.getAttribute("src") ?? "")) {
    // Whoever has a picture elsewhere would learn who reads the note, and when.
    const source = node.getAttribute("src") ?? "";
    node.setAttribute(
      "alt",
      `[${node.getAttribute("alt") ?? ""}: a picture elsewhere, not loaded: ${source}]`,
    );
    node.removeAttribute("src");
  }
});

function isOurs(source: string): boolean {
  if (source.startsWith("data:image/")) return true;
  try {
    return new URL(source, location.href).origin === location.origin;
  } catch {
    return false; // no address
  }
}

/** HTML that only shows: no scripts, frames, forms, styles or names. */
function sanitized(html: string): string {
  return purifier.sanitize(html, {
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
    FORBID_ATTR: ["style", "background", "class", "id", "name", "target", "srcset"],
    ALLOW_DATA_ATTR: false,
    ALLOW_ARIA_ATTR: false,
  });
}

/** Markdown in parts, whatever HTML is in the text. */
export function piecesOf(text: string): Piece[] {
  const tokens = marked.lexer(text);
  const pieces: Piece[] = [];
  let held: Token[] = [];
  const flush = () => {
    const html = sanitized(marked.parser(Object.assign(held, { links: tokens.links })));
    if (html.trim()) pieces.push({ html });
    held = [];
  };
  for (const token of tokens) {
    const { lang, text: body } = token as Tokens.Code;
    if (token.type === "code" && isEmbed(lang)) {
      flush();
      pieces.push({ block: { info: lang, body } });
    } else held.push(token);
  }
  flush();
  return pieces;
}
