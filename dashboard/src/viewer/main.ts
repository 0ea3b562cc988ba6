/** The frame in which a figure is drawn. It is served with a policy that lets it reach nothing (query/runstream_query/http/pages.py). */
import { brief, type Figure, type FigureKind, type Said } from "./protocol";

/** Draws into an element; `warn` is told what of it could not be had. */
export type Draw = (place: HTMLElement, figure: Figure, warn: (text: string) => void) => Promise<void>;

const DRAWERS: Record<FigureKind, () => Promise<{ draw: Draw }>> = {
  plotly: () => import("./plotly"),
  vega: () => import("./vega"),
  object3d: () => import("./object3d"),
};

const place = document.getElementById("drawn")!;
const warned = new Set<string>();

function say(said: Said): void {
  parent.postMessage(said, location.origin);
}

function warn(text: string): void {
  if (warned.size > 8 || warned.has(text)) return;
  warned.add(text);
  say({ said: "warning", text: brief(text) });
}

document.addEventListener("securitypolicyviolation", (event) => {
  warn(
    `${event.blockedURI || event.violatedDirective} was not loaded: what is drawn here reaches nothing outside.`,
  );
});

async function draw(figure: Figure): Promise<void> {
  document.documentElement.dataset.theme = figure.dark ? "dark" : "light";
  new ResizeObserver(() => say({ said: "height", height: document.body.scrollHeight })).observe(place);
  try {
    await (await DRAWERS[figure.kind]()).draw(place, figure, warn);
    say({ said: "drawn" });
  } catch (error) {
    place.replaceChildren();
    say({ said: "failed", text: brief(error instanceof Error ? error.message : String(error)) });
  }
}

addEventListener("message", function take(event: MessageEvent<Figure>) {
  if (event.source !== parent || event.origin !== location.origin) return;
  removeEventListener("message", take);
  void draw(event.data);
});
say({ said: "ready" });
