// What does the terminal look like? xterm.js with its addons, in the page's colours.
import { ClipboardAddon } from "@xterm/addon-clipboard";
import { FitAddon } from "@xterm/addon-fit";
import { SearchAddon } from "@xterm/addon-search";
import { UnicodeGraphemesAddon } from "@xterm/addon-unicode-graphemes";
import { WebLinksAddon } from "@xterm/addon-web-links";
import { WebglAddon } from "@xterm/addon-webgl";
import { Terminal } from "@xterm/xterm";
import type { ITheme } from "@xterm/xterm";
import type { IClipboardProvider } from "@xterm/addon-clipboard";
import { copyText } from "../parts/clipboard";

const SCROLLBACK_LINES = 10_000;
export const FONT_SIZES_PX = [11, 12, 13, 14, 16, 18, 20, 24] as const;
export const FONT_SIZE_PX = 14;

const DARK: ITheme = {
  background: "#0f1318",
  foreground: "#e5eaf0",
  cursor: "#4cbfb4",
  selectionBackground: "#2f5f5b",
  black: "#1e252e",
  red: "#ff8a7e",
  green: "#62cf95",
  yellow: "#e8b457",
  blue: "#7ab7ff",
  magenta: "#d5a3f0",
  cyan: "#6cd3c9",
  white: "#d3dae3",
  brightBlack: "#8592a2",
  brightRed: "#ffaaa1",
  brightGreen: "#8fe0b3",
  brightYellow: "#f2cd87",
  brightBlue: "#a5cfff",
  brightMagenta: "#e5c5f7",
  brightCyan: "#9be4dd",
  brightWhite: "#ffffff",
};

const LIGHT: ITheme = {
  background: "#ffffff",
  foreground: "#18202b",
  cursor: "#0b6868",
  selectionBackground: "#b7dedc",
  black: "#18202b",
  red: "#b0261c",
  green: "#1a7046",
  yellow: "#7d4e00",
  blue: "#1b5bb5",
  magenta: "#7c3aa0",
  cyan: "#0b6868",
  white: "#556171",
  brightBlack: "#556171",
  brightRed: "#c9352a",
  brightGreen: "#1f8553",
  brightYellow: "#956000",
  brightBlue: "#2b6fd0",
  brightMagenta: "#9450ba",
  brightCyan: "#0d7d7d",
  brightWhite: "#18202b",
};

export interface Drawn {
  terminal: Terminal;
  search: SearchAddon;
  fit(): void;
  dispose(): void;
}

export interface Taste {
  dark: boolean;
  fontSize: number;
  /** Lines as text for screen readers, beside the picture. */
  spoken: boolean;
}

export function draw(into: HTMLElement, { dark, fontSize, spoken }: Taste): Drawn {
  const terminal = new Terminal({
    allowProposedApi: true,
    cursorBlink: !matchMedia("(prefers-reduced-motion: reduce)").matches,
    fontFamily: getComputedStyle(document.documentElement).getPropertyValue("--mono"),
    fontSize,
    linkHandler: { activate: (_click, uri) => follow(uri) },
    minimumContrastRatio: 4.5,
    screenReaderMode: spoken,
    scrollback: SCROLLBACK_LINES,
    theme: dark ? DARK : LIGHT,
  });
  const fit = new FitAddon();
  const search = new SearchAddon();
  terminal.loadAddon(fit);
  terminal.loadAddon(search);
  terminal.loadAddon(new WebLinksAddon((_click, uri) => follow(uri)));
  terminal.loadAddon(new ClipboardAddon(undefined, CLIPBOARD));
  terminal.loadAddon(new UnicodeGraphemesAddon());
  terminal.open(into);
  useGpu(terminal);
  return { terminal, search, fit: () => fit.fit(), dispose: () => terminal.dispose() };
}

/** What a program inside may do by OSC 52: fill the clipboard, but not read what lies there. */
const CLIPBOARD: IClipboardProvider = {
  readText: () => "",
  writeText: async (_selection, text) => void (await copyText(text)),
};

/** Whatever a program calls a link: only the web, and the page there knows nothing of this one. */
function follow(uri: string): void {
  if (/^https?:/i.test(uri)) open(uri, "_blank", "noopener,noreferrer");
}

/** Without WebGL, or when the GPU goes away, xterm.js draws with elements as it does by itself. */
function useGpu(terminal: Terminal): void {
  try {
    const gpu = new WebglAddon();
    gpu.onContextLoss(() => gpu.dispose());
    terminal.loadAddon(gpu);
  } catch {
    // no WebGL here
  }
}

export function recolour(terminal: Terminal, dark: boolean): void {
  terminal.options.theme = dark ? DARK : LIGHT;
}
