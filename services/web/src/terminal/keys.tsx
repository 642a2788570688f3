// Which keys does a telephone not have? A row of them, shown where fingers point.
import { useState } from "preact/hooks";
import { t } from "../i18n/words";
import type { Drawn } from "./screen";

/** What is shown, what is spoken, and what the shell gets. */
const KEYS = [
  ["Esc", "Esc", "\x1b"],
  ["Tab", "Tab", "\t"],
  ["^C", "Control C", "\x03"],
  ["^D", "Control D", "\x04"],
  ["^Z", "Control Z", "\x1a"],
  ["↑", "↑", "\x1b[A"],
  ["↓", "↓", "\x1b[B"],
  ["←", "←", "\x1b[D"],
  ["→", "→", "\x1b[C"],
] as const;

export function Keys({ drawn }: { drawn: Drawn }) {
  const [coarse] = useState(() => matchMedia("(pointer: coarse)").matches);
  if (!coarse) return null;
  const press = (keys: string) => {
    const arrow = keys.startsWith("\x1b[") && drawn.terminal.modes.applicationCursorKeysMode;
    drawn.terminal.input(arrow ? keys.replace("[", "O") : keys);
    drawn.terminal.focus();
  };
  return (
    <div class="terminal-keys" role="toolbar" aria-label={t("terminal.keys")}>
      {KEYS.map(([face, spoken, keys]) => (
        <button key={face} type="button" class="button plain" aria-label={spoken} onClick={() => press(keys)}>
          {face}
        </button>
      ))}
    </div>
  );
}
