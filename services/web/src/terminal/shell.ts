// How do the screen and the connection of one shell live and end with its page?
import { useEffect, useRef, useState } from "preact/hooks";
import { t } from "../i18n/words";
import { me } from "../session";
import { isDark } from "../theme";
import { adoptStyles } from "./adopted_styles";
import { Connection, placeOf } from "./connection";
import type { State, TypedError, Where } from "./connection";
import type { Mode, Person } from "./protocol";
import { draw, recolour } from "./screen";
import type { Drawn } from "./screen";

/** What the page shows of it. */
export interface Shown {
  state: State;
  session: string | null;
  mode: Mode | null;
  /** Of the environment, as the server calls it. */
  name: string | null;
  people: Person[];
  latency_ms: number | null;
  error: TypedError | undefined;
  refused: TypedError | undefined;
  exit: number | null | undefined;
}

const NOTHING: Shown = {
  state: "connecting",
  session: null,
  mode: null,
  name: null,
  people: [],
  latency_ms: null,
  error: undefined,
  refused: undefined,
  exit: undefined,
};

const keptAs = (where: Where) => `portreeve.shell.${placeOf(where).split("/")[1]}`;

/** A reload of the tab comes back to the same shell; another tab gets one of its own. */
function sessionKept(where: Where): string | null {
  try {
    return sessionStorage.getItem(keptAs(where));
  } catch {
    return null;
  }
}

function keepSession(where: Where, session: string | null): void {
  try {
    if (session === null) sessionStorage.removeItem(keptAs(where));
    else sessionStorage.setItem(keptAs(where), session);
  } catch {
    // storage is closed: a reload begins a new shell
  }
}

export interface Wanted {
  where: Where;
  /** Counts up for a new shell. */
  round: number;
  fontSize: number;
  spoken: boolean;
}

export function useShell({ where, round, fontSize, spoken }: Wanted) {
  const into = useRef<HTMLDivElement>(null);
  const [drawn, setDrawn] = useState<Drawn | null>(null);
  const [shown, setShown] = useState<Shown>(NOTHING);
  const dark = isDark();
  useEffect(() => {
    if (!into.current) return;
    const set = (change: Partial<Shown>) => setShown((known) => ({ ...known, ...change }));
    setShown(NOTHING);
    const undo = adoptStyles(document);
    const screen = draw(into.current, { dark, fontSize, spoken });
    const end = live(where, screen, into.current, round === 0 ? sessionKept(where) : null, set);
    // what xterm.js leaves alone goes up to the page
    screen.terminal.attachCustomKeyEventHandler((key) => ownKey(key) === null);
    setDrawn(screen);
    screen.terminal.focus();
    return () => {
      end();
      screen.dispose();
      undo();
      setDrawn(null);
    };
  }, [round]);
  useEffect(() => {
    if (drawn) recolour(drawn.terminal, dark);
  }, [drawn, dark]);
  useEffect(() => {
    if (!drawn) return;
    drawn.terminal.options.screenReaderMode = spoken;
    if (drawn.terminal.options.fontSize === fontSize) return;
    drawn.terminal.options.fontSize = fontSize;
    drawn.fit();
  }, [drawn, fontSize, spoken]);
  return { into, drawn, shown };
}

/** From the first question for a ticket until the page is left; the answer ends it. */
function live(where: Where, screen: Drawn, into: HTMLElement, resumed: string | null, set: (change: Partial<Shown>) => void): () => void {
  const { terminal } = screen;
  // once somebody else's window decides, ours does not
  let sized = false;
  const fit = () => {
    if (!sized) screen.fit();
  };
  fit();
  const note = (text: string) => terminal.write(`\x1b[90m${text}\x1b[0m\r\n`);
  const connection = new Connection(
    where,
    {
      draw: (bytes, done) => terminal.write(bytes, done),
      line: note,
      begin: (why) => {
        terminal.reset();
        note(t(why === "another" ? "terminal.another" : "terminal.lost"));
      },
      sized: (cols, rows) => {
        if (!("share" in where)) return;
        sized = true;
        terminal.resize(cols, rows);
      },
    },
    {
      onState: (state) => set({ state }),
      onError: (error) => set({ error }),
      onRefused: (refused) => set({ refused }),
      onSession: (session, mode, name) => set({ session, name, ...(mode && { mode }) }),
      onPeople: (people) => set({ people, ...("share" in where && { mode: modeAmong(people) }) }),
      onExit: (exit) => set({ exit, people: [] }),
      onLatency: (latency_ms) => set({ latency_ms }),
    },
    { cols: terminal.cols, rows: terminal.rows },
    resumed,
  );
  terminal.onData((text) => connection.type(text));
  terminal.onBinary((text) => connection.typeBinary(text));
  terminal.onResize(({ cols, rows }) => connection.resize(cols, rows));
  const watch = new ResizeObserver(fit);
  watch.observe(into);
  const onHide = () => keepSession(where, connection.place);
  const onBack = () => {
    if (document.visibilityState === "visible") connection.wake();
  };
  addEventListener("pagehide", onHide);
  addEventListener("online", onBack);
  document.addEventListener("visibilitychange", onBack);
  void connection.connect();
  return () => {
    removeEventListener("pagehide", onHide);
    removeEventListener("online", onBack);
    document.removeEventListener("visibilitychange", onBack);
    watch.disconnect();
    onHide();
    connection.leave();
  };
}

/** What a guest may do, which only the list of people says. */
function modeAmong(people: Person[]): Mode {
  const mine = people.filter((each) => each.user === me.value?.owner && each.mode !== "owner");
  return mine.some((each) => each.mode === "write") ? "write" : "view";
}

/** The few keys that are the page's, wherever the focus is: all others are the shell's. */
export function ownKey(key: KeyboardEvent): "copy" | "find" | "leave" | null {
  if (key.type !== "keydown" || !key.ctrlKey || key.altKey || key.metaKey) return null;
  // without a selection too: Ctrl+Shift+C opens the browser's tools otherwise
  if (key.shiftKey ? key.code === "KeyC" : key.code === "Insert") return "copy";
  if (key.shiftKey && key.code === "KeyF") return "find";
  if (key.shiftKey && key.code === "ArrowUp") return "leave";
  return null;
}
