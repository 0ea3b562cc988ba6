/** The notebook's widget: one module and one style sheet, from the dashboard's own parts. */
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig, type Plugin } from "vite";
import { leanUplot } from "./vite.uplot";

/** The page's style sheet holds for the whole page; in a notebook only for what lies within the widget. */
const withinWidget: Plugin = {
  name: "styles-within-the-widget",
  enforce: "pre",
  transform(code, id) {
    if (!id.split("?")[0]!.endsWith("/src/app.css")) return null;
    const own = code
      .replace(/^html,\s*body \{[^}]*\}/m, "")
      .replace(/^#app \{[^}]*\}/m, "")
      .replace(/^body \{/m, "& {")
      .replaceAll(":root", "&");
    return `.runstream {\n${own}\n}`;
  },
};

export default defineConfig({
  plugins: [withinWidget, leanUplot, svelte()],
  publicDir: false,
  build: {
    outDir: process.env.RUNSTREAM_WIDGET ?? "dist-widget",
    emptyOutDir: true,
    target: "es2022",
    // Not as a library: that would keep white space and names.
    rolldownOptions: {
      input: "src/widget/main.ts",
      preserveEntrySignatures: "strict",
      output: { entryFileNames: "widget.js", assetFileNames: "widget[extname]", codeSplitting: false },
    },
    modulePreload: false,
    reportCompressedSize: true,
  },
});
