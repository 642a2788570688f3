// A shell in the browser: its screen, how the connection is, who is here, and what went wrong.
import { useRef, useState } from "preact/hooks";
import { get } from "../api";
import { useAsked } from "../asked";
import { Preferences } from "../account/preferences";
import type { Environment } from "../environments/environment";
import { isKey, t } from "../i18n/words";
import type { Server } from "../servers/server";
import { keep, kept } from "../kept";
import { Button, LinkButton } from "../parts/button";
import { copyText } from "../parts/clipboard";
import { Icon } from "../parts/icon";
import { placeOf } from "./connection";
import type { State, TypedError, Where } from "./connection";
import { Find } from "./find";
import { Keys } from "./keys";
import type { Person } from "./protocol";
import { FONT_SIZES_PX, FONT_SIZE_PX } from "./screen";
import { Sharing } from "./sharing";
import { ownKey, useShell } from "./shell";
import type { Shown } from "./shell";
import "@xterm/xterm/css/xterm.css";
import "../style/terminal.css";

const FONT_KEPT = "terminal.font";
const SPOKEN_KEPT = "terminal.spoken";
const HINT = "terminal-hint";

export function TerminalPage({ where }: { where: Where }) {
  const [round, setRound] = useState(0);
  const [fontSize, setFontSize] = useState(() => Number(kept(FONT_KEPT)) || FONT_SIZE_PX);
  const [spoken, setSpoken] = useState(() => kept(SPOKEN_KEPT) === "yes");
  const [open, setOpen] = useState<"find" | "sharing" | null>(null);
  const head = useRef<HTMLElement>(null);
  const { into, drawn, shown } = useShell({ where, round, fontSize, spoken });
  const onKeyDown = (key: KeyboardEvent) => {
    switch (ownKey(key)) {
      case "copy":
        if (drawn?.terminal.hasSelection()) void copyText(drawn.terminal.getSelection());
        break;
      case "find":
        setOpen("find");
        break;
      case "leave":
        head.current?.querySelector<HTMLElement>("a, button")?.focus();
        break;
      case null:
        return;
    }
    key.preventDefault();
  };
  const close = () => {
    setOpen(null);
    drawn?.terminal.focus();
  };
  const name = useName(where) ?? shown.name ?? ("share" in where ? "" : idOf(where));
  const title = t("share" in where ? "terminal.shared_of" : "terminal.of", { name });
  const scale = (by: number) => {
    const at = FONT_SIZES_PX.findIndex((size) => size >= fontSize) + by;
    const next = FONT_SIZES_PX[Math.max(0, Math.min(FONT_SIZES_PX.length - 1, at))] ?? FONT_SIZE_PX;
    keep(FONT_KEPT, String(next));
    setFontSize(next);
  };
  const speak = () => {
    keep(SPOKEN_KEPT, spoken ? null : "yes");
    setSpoken(!spoken);
  };
  return (
    <div class="terminal-page" onKeyDown={onKeyDown}>
      <header class="terminal-head" ref={head}>
        <LinkButton kind="quiet" icon="back" to={"share" in where ? "/environments" : `/${placeOf(where)}`} label={t("terminal.back")} />
        <h1>{title.trim()}</h1>
        <Standing shown={shown} />
        <span class="spread" />
        {shown.mode === "owner" && shown.session && (
          <Button kind="quiet" icon="share" label={t("share")} onPress={() => setOpen("sharing")} />
        )}
        <Button kind="quiet" icon="search" label={t("terminal.find")} pressed={open === "find"} onPress={() => setOpen(open === "find" ? null : "find")} />
        <Button kind="quiet" icon="speak" label={t("terminal.spoken")} pressed={spoken} onPress={speak} />
        <Button kind="quiet" icon="smaller" label={t("terminal.smaller")} onPress={() => scale(-1)} />
        <Button kind="quiet" icon="larger" label={t("terminal.larger")} onPress={() => scale(1)} />
        <span class="preferences">
          <Preferences />
        </span>
      </header>
      <People people={shown.people} />
      {open === "find" && drawn && <Find drawn={drawn} onClose={close} />}
      {open === "sharing" && shown.session && <Sharing session={shown.session} people={shown.people} onClose={close} />}
      {(shown.error || shown.exit !== undefined) && <End shown={shown} onAgain={() => setRound(round + 1)} />}
      <main id="main" class="terminal-body" aria-label={title.trim()} aria-describedby={HINT}>
        <p id={HINT} class="off-screen">
          {t("terminal.leave")}
        </p>
        <div class="terminal-screen" ref={into} />
      </main>
      {shown.mode !== "view" && drawn && <Keys drawn={drawn} />}
    </div>
  );
}

const idOf = (where: Where) => placeOf(where).split("/")[1] ?? "";

/** Who opened somebody else's shell may not read of whose environment it is. */
function useName(where: Where): string | undefined {
  const place = "share" in where ? null : placeOf(where);
  const asked = useAsked(async (signal) => (place === null ? undefined : (await get<Environment | Server>(`/api/${place}`, signal)).body.name), [place]);
  return asked.value;
}

const TONES: Record<State, string> = { connecting: "busy", ready: "good", broken: "busy", ended: "still" };

/** How the connection is, and what one may do here. */
function Standing({ shown: { state, mode, latency_ms, refused } }: { shown: Shown }) {
  return (
    <>
      <span class={`badge ${TONES[state]}`} role="status">
        <span class="dot" aria-hidden="true" />
        {t(`terminal.${state}`)}
      </span>
      {mode === "view" && (
        <span class="badge still" role="status" title={refused?.reason}>
          <Icon name="eye" />
          {t("share.mode.view")}
        </span>
      )}
      {latency_ms !== null && state === "ready" && (
        <span class="latency" title={t("terminal.latency")}>
          <span class="off-screen">{t("terminal.latency")} </span>
          {latency_ms < 10 ? latency_ms.toFixed(1) : Math.round(latency_ms)} ms
        </span>
      )}
    </>
  );
}

/** Nobody else, no line. */
function People({ people }: { people: Person[] }) {
  if (people.length < 2) return null;
  return (
    <div class="terminal-people" role="status">
      <Icon name="person" />
      <span class="off-screen">{t("share.people")}: </span>
      <ul>
        {people.map((each, index) => (
          <li key={index}>
            {each.user} <span class="muted">{t(`share.is.${each.mode}`)}</span>
          </li>
        ))}
      </ul>
    </div>
  );
}

/** In words of the page where it has some; the server's own words, which know more, come below. */
function titleOf(error: TypedError): string {
  const key = `problem.${error.code}`;
  if (isKey(key)) return t(key);
  return error.reason === "" ? error.code : error.reason;
}

function End({ shown: { error, exit }, onAgain }: { shown: Shown; onAgain(): void }) {
  const title = error ? titleOf(error) : exit === null ? t("terminal.exit.unknown") : t("terminal.exit", { code: exit ?? "?" });
  return (
    <div class={error ? "terminal-end trouble" : "terminal-end notice"} role="alert">
      <div>
        <p class="trouble-title">{title}</p>
        {error && error.reason !== "" && error.reason.toLowerCase() !== title.toLowerCase() && <p class="trouble-detail">{error.reason}</p>}
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
