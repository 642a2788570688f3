// How are events followed? Server-sent events over fetch, because EventSource sends no headers of
// ours. It resumes after the last one seen, and rests while nobody looks at the page.
import { ownHeaders, positionOf, query } from "./api";
import { asProblem, problemOf } from "./problem";
import type { Problem } from "./problem";

/** A CloudEvent as the API shows it. */
export interface Event {
  /** Sequence in the log. */
  seq: number;
  type: string;
  kind: string;
  aggregateid: string;
  tenant: string;
  time: string;
  actor: string;
  correlationid: string;
  data: Record<string, unknown>;
}

export type Following = "connecting" | "live" | "waiting" | "resting" | "ended";

export interface Follower {
  /** The events after this sequence come; those up to it were before. */
  onBegin?(position: number): void;
  onEvent(event: Event): void;
  onState?(state: Following, problem?: Problem): void;
}

const RETRY_FIRST_MS = 500;
const RETRY_LAST_MS = 15_000;
/** The API sends a comment at least every 15 s; silence longer than this is a dead connection. */
const SILENCE_MAX_MS = 40_000;
/** A page that nobody has looked at for so long lets its connection go. */
const REST_AFTER_MS = 30_000;

/** Splits a stream of text into the messages of `text/event-stream` (HTML, 9.2.6). */
export class MessageReader {
  private rest = "";

  /** Messages that are whole now; comments give none. */
  push(text: string): { id: string | null; event: string; data: string }[] {
    const messages = [];
    this.rest += text;
    for (let end = this.rest.indexOf("\n\n"); end >= 0; end = this.rest.indexOf("\n\n")) {
      const message = { id: null as string | null, event: "message", data: "" };
      let lines = 0;
      for (const line of this.rest.slice(0, end).split("\n")) {
        const colon = line.indexOf(":");
        if (colon <= 0) continue;
        const field = line.slice(0, colon);
        const value = line.slice(colon + 1).replace(/^ /, "");
        if (field === "data") message.data += (lines++ > 0 ? "\n" : "") + value;
        else if (field === "id") message.id = value;
        else if (field === "event") message.event = value;
      }
      if (lines > 0) messages.push(message);
      this.rest = this.rest.slice(end + 2);
    }
    return messages;
  }
}

/** Follows until the answer is called. */
export function follow(path: string, parts: Record<string, string | undefined>, follower: Follower): () => void {
  const whole = new Follow(query(path, parts), follower);
  return () => whole.end();
}

class Follow {
  private over = false;
  private last: string | null = null;
  private connection: AbortController | null = null;
  private retry_ms = RETRY_FIRST_MS;
  private timer: number | undefined;
  private restTimer: number | undefined;
  private resting = false;
  private readonly onVisible = () => this.look();

  constructor(
    private readonly url: string,
    private readonly follower: Follower,
  ) {
    document.addEventListener("visibilitychange", this.onVisible);
    void this.connect();
  }

  end(): void {
    this.over = true;
    document.removeEventListener("visibilitychange", this.onVisible);
    clearTimeout(this.timer);
    clearTimeout(this.restTimer);
    this.connection?.abort();
  }

  private say(state: Following, problem?: Problem): void {
    if (!this.over) this.follower.onState?.(state, problem);
  }

  private look(): void {
    clearTimeout(this.restTimer);
    if (document.visibilityState === "hidden") {
      this.restTimer = window.setTimeout(() => {
        this.resting = true;
        this.connection?.abort();
        this.say("resting");
      }, REST_AFTER_MS);
    } else if (this.resting) {
      this.resting = false;
      void this.connect();
    }
  }

  private again(): void {
    if (this.over || this.resting) return;
    this.say("waiting");
    const wait_ms = this.retry_ms * (0.5 + Math.random() / 2);
    this.retry_ms = Math.min(this.retry_ms * 2, RETRY_LAST_MS);
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => void this.connect(), wait_ms);
  }

  private async connect(): Promise<void> {
    this.say("connecting");
    const connection = new AbortController();
    this.connection = connection;
    try {
      const headers: Record<string, string> = { Accept: "text/event-stream", ...ownHeaders() };
      if (this.last !== null) headers["Last-Event-ID"] = this.last;
      const response = await fetch(this.url, { headers, credentials: "same-origin", cache: "no-store", signal: connection.signal });
      if (!response.ok || !response.body) {
        const problem = await problemOf(response);
        const hopeless = response.status >= 400 && response.status < 500 && response.status !== 429;
        if (hopeless) return this.say("ended", problem);
      } else {
        this.begin(positionOf(response));
        await this.read(response.body, connection);
      }
    } catch (error) {
      if (this.over || this.resting) return;
      this.say("waiting", asProblem(error));
    }
    this.again();
  }

  private begin(position: number | null): void {
    if (position === null || this.last !== null || this.over) return;
    this.last = String(position);
    this.follower.onBegin?.(position);
  }

  private async read(body: ReadableStream<Uint8Array>, connection: AbortController): Promise<void> {
    const messages = new MessageReader();
    const decoder = new TextDecoder();
    const reader = body.getReader();
    let silence = window.setTimeout(() => connection.abort(), SILENCE_MAX_MS);
    this.say("live");
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        clearTimeout(silence);
        silence = window.setTimeout(() => connection.abort(), SILENCE_MAX_MS);
        for (const message of messages.push(decoder.decode(value, { stream: true }))) {
          if (message.event === "message") this.pass(message.id, message.data);
        }
      }
    } finally {
      clearTimeout(silence);
    }
  }

  private pass(id: string | null, data: string): void {
    this.retry_ms = RETRY_FIRST_MS;
    if (id !== null) this.last = id;
    const event = JSON.parse(data) as Event;
    event.seq = Number(id ?? 0);
    if (!this.over) this.follower.onEvent(event);
  }
}
