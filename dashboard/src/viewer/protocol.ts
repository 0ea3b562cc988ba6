/**
 * What a page and the frame in which a figure is drawn say to each other. Figures come from whoever logged them: the frame has no
 * origin, reaches no server and gets the figure's bytes from the page, which takes nothing of its answers for more than text
 * and numbers.
 */

/** What is drawn in the frame, each by a library of its own. */
export type FigureKind = "plotly" | "vega" | "object3d";

/** From the page: draw this. */
export interface Figure {
  kind: FigureKind;
  bytes: ArrayBuffer;
  /** Its content type. */
  type: string;
  dark: boolean;
}

/** From the frame. */
export type Said =
  | { said: "ready" }
  | { said: "drawn" }
  | { said: "height"; height: number }
  | { said: "warning" | "failed"; text: string };

/** Most bytes of what is drawn: what is larger takes a browser's tab down with it. */
export const MOST_BYTES: Record<FigureKind, number> = {
  plotly: 16 << 20,
  vega: 16 << 20,
  object3d: 64 << 20,
};

/** Most CSS pixels a figure may want; the rest is scrolled to. */
export const MOST_HEIGHT = 1600;

const MOST_TEXT = 400;

/** What a frame said, or null where it is none of that. */
export function heard(data: unknown): Said | null {
  if (typeof data !== "object" || data === null) return null;
  const { said, text, height } = data as Record<string, unknown>;
  if (said === "ready" || said === "drawn") return { said };
  if (said === "height" && typeof height === "number" && height > 0)
    return { said, height: Math.min(Math.ceil(height), MOST_HEIGHT) };
  if ((said === "warning" || said === "failed") && typeof text === "string")
    return { said, text: brief(text) };
  return null;
}

export function brief(text: string): string {
  return text.length > MOST_TEXT ? `${text.slice(0, MOST_TEXT)} ...` : text;
}
