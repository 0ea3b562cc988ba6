import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig, type Plugin } from "vite";

// `runstream up` serves the API; RUNSTREAM_URL and RUNSTREAM_TOKEN let `npm run dev` talk to it.
const server = process.env.RUNSTREAM_URL;
const token = process.env.RUNSTREAM_TOKEN;

/** uPlot hangs its ways to draw a line on itself, so those we never use would stay in the bundle. */
const withoutUnusedPaths: Plugin = {
  name: "without-unused-paths",
  transform(code, id) {
    if (!id.split("?")[0]!.endsWith("/uPlot.esm.js")) return null;
    const kept = code.replace(/^\s*\(paths\.(?:stepped|bars|spline)\s*= \w+\);$/gm, "");
    if (kept.length === code.length) this.warn("uPlot names its paths otherwise; nothing was left out");
    return { code: kept, map: null };
  },
};

export default defineConfig({
  plugins: [withoutUnusedPaths, svelte()],
  build: {
    outDir: process.env.RUNSTREAM_WEB ?? "dist",
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    reportCompressedSize: true,
  },
  server: server
    ? {
        proxy: {
          "/api": {
            target: server,
            changeOrigin: true,
            headers: token ? { Authorization: `Bearer ${token}` } : {},
          },
        },
      }
    : {},
});
