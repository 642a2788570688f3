// What happens right now, everywhere the caller may look?
import { useEffect, useRef, useState } from "preact/hooks";
import { t } from "../i18n/words";
import { Button } from "../parts/button";
import { SelectField, TextField } from "../parts/field";
import { Nothing, Trouble } from "../parts/notice";
import { inWords } from "../environments/progress";
import type { Problem } from "../problem";
import { clock, instant } from "../shown";
import { follow } from "../sse";
import type { Event, Following } from "../sse";

const KINDS = ["env", "login", "session", "credential", "ssh_key", "server", "access", "relay", "batch", "command", "schedule", "subscription", "nats_tap", "port", "quota", "tenant", "user", "sign_in", "token", "request"];
/** Rows on the page; older ones go. */
const SHOWN_MAX = 500;
const TIME_S = { hour: 3600, day: 86_400 };

/** Where to begin; a time in the past shows what was before. */
const SINCE = ["now", "hour", "day"] as const;

export function Events() {
  const [kind, setKind] = useState("");
  const [id, setId] = useState("");
  const [since, setSince] = useState<(typeof SINCE)[number]>("hour");
  const [paused, setPaused] = useState(false);
  const { events, state, problem, clear } = useStream(kind, id.trim(), since, paused);
  return (
    <main id="main">
      <header class="page-head">
        <div class="page-title">
          <h1>{t("events")}</h1>
          <span class={`badge ${state === "live" && !paused ? "good" : "busy"}`}>
            <span class="dot" aria-hidden="true" />
            {t(paused ? "events.paused" : `follow.${state}`)}
          </span>
        </div>
        <div class="page-tools">
          <Button icon={paused ? "play" : "stop"} pressed={paused} onPress={() => setPaused(!paused)}>
            {t(paused ? "events.resume" : "events.pause")}
          </Button>
          <Button onPress={clear}>{t("events.clear")}</Button>
        </div>
      </header>
      <div class="field-row filters">
        <SelectField label={t("events.kind")} value={kind} onValue={setKind} options={[["", t("events.kind.all")] as const, ...KINDS.map((each) => [each, each] as const)]} />
        <TextField label={t("events.id")} value={id} onValue={setId} placeholder="env-…" spellcheck={false} autocomplete="off" />
        <SelectField label={t("events.since")} value={since} onValue={(value) => setSince(value as "now")} options={SINCE.map((each) => [each, t(`events.since.${each}`)] as const)} />
      </div>
      {problem && <Trouble problem={problem} />}
      {events.length === 0 && !problem && (
        <Nothing icon="events" title={t("events.none")}>
          <p>{t("events.none.hint")}</p>
        </Nothing>
      )}
      {events.length > 0 && (
        <table class="rows events">
          <thead>
            <tr>
              <th scope="col">#</th>
              <th scope="col">{t("login.when")}</th>
              <th scope="col">{t("login.what")}</th>
              <th scope="col">{t("events.id")}</th>
              <th scope="col">{t("events.actor")}</th>
            </tr>
          </thead>
          <tbody>
            {events.map((event) => (
              <Row key={event.seq} event={event} />
            ))}
          </tbody>
        </table>
      )}
    </main>
  );
}

function useStream(kind: string, id: string, since: (typeof SINCE)[number], paused: boolean) {
  const [events, setEvents] = useState<Event[]>([]);
  const [state, setState] = useState<Following>("connecting");
  const [problem, setProblem] = useState<Problem>();
  const held = useRef<Event[]>([]);
  const isPaused = useRef(paused);
  isPaused.current = paused;
  const flush = () => {
    if (isPaused.current || held.current.length === 0) return;
    const newer = held.current.reverse();
    held.current = [];
    setEvents((known) => [...newer, ...known].slice(0, SHOWN_MAX));
  };
  useEffect(flush, [paused]);
  useEffect(() => {
    setEvents([]);
    held.current = [];
    const from = since === "now" ? undefined : new Date(Date.now() - TIME_S[since] * 1000).toISOString();
    // a busy log is drawn a few times a second, not once an event
    const timer = setInterval(flush, 150);
    const end = follow("/api/events", { kind, id, from }, {
      onEvent: (event) => {
        held.current.push(event);
        if (held.current.length > SHOWN_MAX) held.current.shift();
      },
      onState: (next, why) => {
        setState(next);
        setProblem(next === "ended" ? why : undefined);
      },
    });
    return () => {
      clearInterval(timer);
      end();
    };
  }, [kind, id, since]);
  return { events, state, problem, clear: () => setEvents([]) };
}

/** Ids say of what they are; some of it has a page. */
const PAGES: [string, string][] = [
  ["env-", "/environments/"],
  ["srv-", "/servers/"],
  ["bat-", "/batches/"],
];

function Of({ id }: { id: string }) {
  const page = PAGES.find(([prefix]) => id.startsWith(prefix))?.[1];
  const text = <code class="breaks">{id}</code>;
  return page ? <a href={page + id}>{text}</a> : text;
}

function Row({ event }: { event: Event }) {
  const [open, setOpen] = useState(false);
  const whole = JSON.stringify(event.data, null, 2);
  const empty = whole === "{}";
  return (
    <>
      <tr>
        <td class="seq">{event.seq}</td>
        <td data-label={t("login.when")} class="nowrap">
          <time dateTime={event.time} title={instant(event.time)}>
            {clock(event.time)}
          </time>
        </td>
        <th scope="row">
          {empty ? (
            <span>{inWords(event)}</span>
          ) : (
            <button type="button" class="disclose" aria-expanded={open} onClick={() => setOpen(!open)}>
              {inWords(event)}
            </button>
          )}
          <code class="row-id">{event.type}</code>
        </th>
        <td data-label={t("events.id")}>
          <Of id={event.aggregateid} />
        </td>
        <td data-label={t("events.actor")}>
          <code class="breaks">{event.actor}</code>
        </td>
      </tr>
      {open && (
        <tr class="opened">
          <td colSpan={5}>
            <pre tabIndex={0}>{whole}</pre>
          </td>
        </tr>
      )}
    </>
  );
}
