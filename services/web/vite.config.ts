// How does the source become the files that the API serves? Hashed names, nothing inlined (the
// Content-Security-Policy allows no inline script or style), the terminal in a part of its own.
import { defineConfig } from "vite";

export default defineConfig({
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    target: "es2022",
    outDir: "dist",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    // the terminal, a part of its own
    chunkSizeWarningLimit: 700,
  },
  // `npm run dev` beside a running installation.
  server: { proxy: { "/api": "http://127.0.0.1:8080", "/ws": { target: "ws://127.0.0.1:8080", ws: true } } },
});
