import type { Plugin } from "vite";

/**
 * uPlot hangs what others may use on itself, so that it would stay in the bundle. And the language of a browser is not
 * always one that Intl takes ("en-US@posix" with LANG=C.UTF-8), for a format of numbers that we never use.
 */
export const leanUplot: Plugin = {
  name: "lean-uplot",
  transform(code, id) {
    if (!id.split("?")[0]!.endsWith("/uPlot.esm.js")) return null;
    for (const [there, instead] of [
      [/^\s*\(paths\.(?:stepped|bars|spline)\s*= \w+\);$/gm, ""],
      [/^\s*uPlot\.(?!pxRatio\b)\w+\s*= \w+;$/gm, ""],
      ["Intl.NumberFormat(domEnv ? nav.language : 'en-US')", "Intl.NumberFormat()"],
    ] as const) {
      const lean = code.replace(there, instead);
      if (lean === code) this.error(`uPlot has no ${there} any more`);
      code = lean;
    }
    return { code, map: null };
  },
};
