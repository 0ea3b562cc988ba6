import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";
import { leanUplot } from "./vite.uplot";

// `runstream up` serves the API; RUNSTREAM_URL and RUNSTREAM_TOKEN let `npm run dev` talk to it.
const server = process.env.RUNSTREAM_URL;
const token = process.env.RUNSTREAM_TOKEN;

export default defineConfig({
  plugins: [leanUplot, svelte()],
  build: {
    outDir: process.env.RUNSTREAM_WEB ?? "dist",
    emptyOutDir: true,
    target: "es2022",
    rolldownOptions: { input: ["index.html", "viewer.html"] },
    chunkSizeWarningLimit: 6000,
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
