// The shell of an environment in the browser: its screen, how the connection is, and what went wrong.
import { useEffect, useRef, useState } from "preact/hooks";
import { get } from "../api";
import { useAsked } from "../asked";
import { Preferences } from "../account/preferences";
import type { Environment } from "../environments/environment";
import { isKey, t } from "../i18n/words";
import { keep, kept } from "../kept";
import { Button, LinkButton } from "../parts/button";
import { isDark } from "../theme";
import { adoptStyles } from "./adopted_styles";
import { Connection } from "./connection";
import type { State, TypedError } from "./connection";
import { Find } from "./find";
import { FONT_SIZES_PX, FONT_SIZE_PX, draw, recolour } from "./screen";
import type { Drawn } from "./screen";
import "@xterm/xterm/css/xterm.css";
import "../style/terminal.css";

const FONT_KEPT = "terminal.font";

/** A reload of the tab comes back to the same shell; another tab gets one of its own. */
function placeKept(id: string): { session: string; offset: number } | null {
  try {
    const text = sessionStorage.getItem(`portreeve.shell.${id}`);
    return text === null ? null : JSON.parse(text);
  } catch {
    return null;
  }
}

function keepPlace(id: string, place: { session: string; offset: number } | null): void {
  try {
    if (place === null) sessionStorage.removeItem(`portreeve.shell.${id}`);
    // a page that is loaded anew has nothing drawn: the whole ring is replayed
    else sessionStorage.setItem(`portreeve.shell.${id}`, JSON.stringify({ ...place, offset: 0 }));
  } catch {
    // storage is closed: a reload begins a new shell
  }
}

export function TerminalPage({ id }: { id: string }) {
  const asked = useAsked(async (signal) => (await get<Environment>(`/api/environments/${id}`, signal)).body, [id]);
  const [round, setRound] = useState(0);
  const [fontSize, setFontSize] = useState(() => Number(kept(FONT_KEPT)) || FONT_SIZE_PX);
  const [finding, setFinding] = useState(false);
  const { into, drawn, state, latency_ms, error, exit } = useShell(id, round, fontSize, () => setFinding(true));
  const name = asked.value?.name ?? id;
  const scale = (by: number) => {
    const at = FONT_SIZES_PX.findIndex((size) => size >= fontSize) + by;
    const next = FONT_SIZES_PX[Math.max(0, Math.min(FONT_SIZES_PX.length - 1, at))] ?? FONT_SIZE_PX;
    keep(FONT_KEPT, String(next));
    setFontSize(next);
  };
  return (
    <div class="terminal-page">
      <header class="terminal-head">
        <LinkButton kind="quiet" icon="back" to={`/environments/${id}`} label={t("terminal.back")} />
        <h1>{t("terminal.of", { name })}</h1>
        <span class={`badge ${TONES[state]}`} role="status">
          <span class="dot" aria-hidden="true" />
          {t(`terminal.${state}`)}
        </span>
        {latency_ms !== null && state === "ready" && (
          <span class="latency" title={t("terminal.latency")}>
            <span class="off-screen">{t("terminal.latency")} </span>
            {latency_ms < 10 ? latency_ms.toFixed(1) : Math.round(latency_ms)} ms
          </span>
        )}
        <span class="spread" />
        <Button kind="quiet" icon="search" label={t("terminal.find")} pressed={finding} onPress={() => setFinding(!finding)} />
        <Button kind="quiet" label={t("terminal.smaller")} onPress={() => scale(-1)}>
          A−
        </Button>
        <Button kind="quiet" label={t("terminal.larger")} onPress={() => scale(1)}>
          A+
        </Button>
        <Preferences />
      </header>
      {finding && drawn && <Find drawn={drawn} onClose={() => setFinding(false)} />}
      {(error || exit !== undefined) && <End error={error} exit={exit} onAgain={() => setRound(round + 1)} />}
      <main id="main" class="terminal-body" ref={into} aria-label={t("terminal.of", { name })} />
    </div>
  );
}

const TONES: Record<State, string> = { connecting: "busy", ready: "good", broken: "busy", ended: "still" };

function useShell(id: string, round: number, fontSize: number, onFind: () => void) {
  const into = useRef<HTMLElement>(null);
  const [drawn, setDrawn] = useState<Drawn | null>(null);
  const [state, setState] = useState<State>("connecting");
  const [latency_ms, setLatency] = useState<number | null>(null);
  const [error, setError] = useState<TypedError>();
  const [exit, setExit] = useState<number | null>();
  const dark = isDark();
  useEffect(() => {
    if (!into.current) return;
    setError(undefined);
    setExit(undefined);
    const undo = adoptStyles(document);
    const screen = draw(into.current, dark, fontSize);
    screen.fit();
    const { terminal } = screen;
    const connection = new Connection(
      id,
      {
        draw: (bytes, done) => terminal.write(bytes, done),
        line: (text) => terminal.write(`\x1b[2m${text}\x1b[0m\r\n`),
        begin: (missing) => {
          terminal.reset();
          if (missing) terminal.write(`\x1b[2m${t("terminal.lost")}\x1b[0m\r\n`);
        },
      },
      { onState: setState, onError: setError, onExit: setExit, onLatency: setLatency },
      { cols: terminal.cols, rows: terminal.rows },
      round === 0 ? placeKept(id) : null,
    );
    terminal.onData((text) => connection.type(text));
    terminal.onBinary((text) => connection.typeBinary(text));
    terminal.onResize(({ cols, rows }) => connection.resize(cols, rows));
    // Ctrl+Shift+F searches; everything else is the shell's
    terminal.attachCustomKeyEventHandler((key) => {
      const find = key.type === "keydown" && key.ctrlKey && key.shiftKey && key.code === "KeyF";
      if (find) onFind();
      return !find;
    });
    const watch = new ResizeObserver(() => screen.fit());
    watch.observe(into.current);
    const onHide = () => keepPlace(id, connection.place);
    addEventListener("pagehide", onHide);
    void connection.connect();
    setDrawn(screen);
    terminal.focus();
    return () => {
      removeEventListener("pagehide", onHide);
      watch.disconnect();
      keepPlace(id, connection.place);
      connection.leave();
      screen.dispose();
      undo();
      setDrawn(null);
    };
  }, [id, round]);
  useEffect(() => {
    if (drawn) recolour(drawn.terminal, dark);
  }, [drawn, dark]);
  useEffect(() => {
    if (!drawn || drawn.terminal.options.fontSize === fontSize) return;
    drawn.terminal.options.fontSize = fontSize;
    drawn.fit();
  }, [drawn, fontSize]);
  return { into, drawn, state, latency_ms, error, exit };
}

function End({ error, exit, onAgain }: { error: TypedError | undefined; exit: number | null | undefined; onAgain(): void }) {
  const key = `problem.${error?.code}`;
  const reason = error && (error.reason !== "" ? error.reason : isKey(key) ? t(key) : error.code);
  return (
    <div class={error ? "terminal-end trouble" : "terminal-end notice"} role="alert">
      <div>
        <p class="trouble-title">{reason ?? t("terminal.exit", { code: exit ?? "?" })}</p>
        {error?.suggestion && (
          <p class="trouble-detail">
            {t("terminal.suggestion")} {error.suggestion}
          </p>
        )}
      </div>
      <Button kind="primary" icon="reset" onPress={onAgain}>
        {t(error ? "terminal.reconnect" : "terminal.new")}
      </Button>
    </div>
  );
}
