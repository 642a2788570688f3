// How far has it come, and what happened to it? Its events in words, the newest first, live.
import { useEffect, useState } from "preact/hooks";
import { isKey, t } from "../i18n/words";
import { Trouble, Waiting } from "../parts/notice";
import type { Problem } from "../problem";
import { clock, instant } from "../shown";
import { follow } from "../sse";
import type { Event } from "../sse";

/** Older ones are in the audit log. */
const SHOWN_MAX = 300;
/** What sessions and logins tell has views of its own. */
const KINDS = new Set(["env", "credential"]);

export function Progress({ id }: { id: string }) {
  const [events, setEvents] = useState<Event[]>([]);
  const [live, setLive] = useState(false);
  const [problem, setProblem] = useState<Problem>();
  useEffect(() => {
    setEvents([]);
    // the first events of a long history arrive in one burst: they are shown together
    let waiting: Event[] = [];
    let timer: number | undefined;
    const flush = () => {
      const newer = waiting.reverse();
      waiting = [];
      timer = undefined;
      setEvents((known) => [...newer, ...known].slice(0, SHOWN_MAX));
    };
    const end = follow(`/api/environments/${id}/events`, {}, {
      onEvent: (event) => {
        if (!KINDS.has(event.kind)) return;
        waiting.push(event);
        timer ??= window.setTimeout(flush, 50);
      },
      onState: (state, why) => {
        setLive(state === "live");
        setProblem(state === "ended" ? why : undefined);
      },
    });
    return () => {
      clearTimeout(timer);
      end();
    };
  }, [id]);
  if (problem) return <Trouble problem={problem} />;
  if (events.length === 0) return live ? <p class="muted">{t("events.none")}</p> : <Waiting />;
  return (
    <ol class="timeline" aria-live="polite" aria-label={t("progress")}>
      {events.map((event) => (
        <li key={event.seq} class={toneOf(event)}>
          <span class="dot" aria-hidden="true" />
          <time dateTime={event.time} title={instant(event.time)}>
            {clock(event.time)}
          </time>
          <span class="what">
            {inWords(event)}
            <Detail event={event} />
          </span>
          <span class="actor">{event.actor}</span>
        </li>
      ))}
    </ol>
  );
}

/** The event's own words, or its name where the page is older than the event. */
export function inWords(event: Event): string {
  const key = `event.${event.type}`;
  return isKey(key) ? t(key) : event.type;
}

function toneOf(event: Event): string {
  if (event.type === "EnvFailed" || event.type === "PodLost" || event.data["trouble"] === true) return "bad";
  if (event.type === "PodReady") return "good";
  return "";
}

function Detail({ event }: { event: Event }) {
  const { message, reason, port, phase } = event.data as Record<string, unknown>;
  // that somebody asked for it is said by who it was
  const parts = [message, reason === "asked" ? undefined : reason, port].filter((part) => typeof part === "string" || typeof part === "number");
  if (parts.length === 0) return null;
  return (
    <span class="detail">
      {typeof phase === "string" && <code>{phase}</code>} {parts.join(" · ")}
    </span>
  );
}
