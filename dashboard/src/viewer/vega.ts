/** Charts of Vega and Vega-Lite. Expressions are interpreted, not compiled: the frame's policy makes no code of texts. */
import * as vega from "vega";
import { parse, View, type Config, type Loader, type LoggerInterface, type Spec } from "vega";
import { expressionInterpreter } from "vega-interpreter";
import { compile, type TopLevelSpec } from "vega-lite";
import { documentOf } from "./document";
import type { Draw } from "./main";
import { separated } from "./separated";

const { formats } = vega as unknown as { formats: (name: string, reader: unknown) => void };
for (const [name, reader] of [
  ["csv", separated(",")],
  ["tsv", separated("\t")],
  ["dsv", separated()],
] as const)
  formats(name, reader);

const MOST_SIDE = 8000;

export const draw: Draw = async (place, { bytes, dark }, warn) => {
  const document = documentOf(bytes);
  const logger = loggerOf(warn);
  const config = dark ? DARK : {};
  const spec = isLite(document) ? compiled(document, logger, config) : (document as Spec);
  const view = new View(parse(spec, config, { ast: true }), {
    loader: loaderOf(warn),
    logger,
    renderer: "canvas",
    expr: expressionInterpreter,
  });
  if (!(view.width() <= MOST_SIDE && view.height() <= MOST_SIDE))
    throw new Error(
      `The chart wants ${view.width()} x ${view.height()} pixels; the most is ${MOST_SIDE} a side.`,
    );
  await view.initialize(place).hover().runAsync();
};

function compiled(document: Record<string, unknown>, logger: LoggerInterface, config: Config): Spec {
  try {
    const options = { logger: logger as never, config: config as never };
    return compile(document as unknown as TopLevelSpec, options).spec;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Error(`Its Vega-Lite specification is broken (${why}).`, { cause: error });
  }
}

function isLite(document: Record<string, unknown>): boolean {
  const schema = String(document.$schema ?? "");
  if (schema.includes("/vega-lite/")) return true;
  if (schema.includes("/vega/")) return false;
  return !("marks" in document);
}

/** Nothing is loaded: whoever logged a chart would learn who looks at it. Pictures may be within it. */
function loaderOf(warn: (text: string) => void): Loader {
  const refuse = (uri: string): Promise<never> =>
    Promise.reject(new Error(`${uri} was not loaded: what is drawn here reaches nothing outside`));
  return {
    load: refuse,
    http: refuse,
    file: refuse,
    sanitize: (uri: string, options: { context?: string }) => {
      if (options.context === "image" && /^data:image\//i.test(uri)) return Promise.resolve({ href: uri });
      warn(`${uri} was not loaded: what is drawn here reaches nothing outside.`);
      return refuse(uri);
    },
  } as unknown as Loader;
}

function loggerOf(warn: (text: string) => void): LoggerInterface {
  const tell = (...parts: readonly unknown[]) => {
    warn(parts.map((part) => (part instanceof Error ? part.message : String(part))).join(" "));
    return logger;
  };
  const logger = {
    level: () => logger,
    error: tell,
    warn: tell,
    info: () => logger,
    debug: () => logger,
  } as unknown as LoggerInterface;
  return logger;
}

/** Colours of a chart that has none of its own. */
const DARK: Config = {
  background: "#14181f",
  view: { stroke: "#2b323d" },
  title: { color: "#e6e9ee", subtitleColor: "#9aa4b2" },
  style: { "guide-label": { fill: "#9aa4b2" }, "guide-title": { fill: "#e6e9ee" } },
  axis: { domainColor: "#6b7686", gridColor: "#2b323d", tickColor: "#6b7686" },
} as Config;
