// How does the page stay with its shell? One connection at a time, come back to after a drop, with
// what was drawn acknowledged so that the server sends no more than can be drawn.
import { postWithin } from "../api";
import { asProblem } from "../problem";
import { OP, SUBPROTOCOL, acknowledged, binaryData, control, data, resize } from "./protocol";
import type { Control, Mode, Person } from "./protocol";

export type State = "connecting" | "ready" | "broken" | "ended";

/** Whose shell: one in an environment, on a server, or one that somebody shared. */
export type Where = { environment: string } | { server: string } | { share: string };

/** What a ticket is asked for, and the address of the WebSocket. */
export function placeOf(where: Where): string {
  if ("share" in where) return `shares/${where.share}`;
  return "server" in where ? `servers/${where.server}` : `environments/${where.environment}`;
}

export interface TypedError {
  code: string;
  reason: string;
  suggestion: string | null;
}

export interface Screen {
  /** Draws, and calls back when it is drawn. */
  draw(bytes: Uint8Array, drawn: () => void): void;
  /** A status line, for a person. */
  line(text: string): void;
  /** Drawn anew from here on: older output is not there any more, or it is another shell than before. */
  begin(why: "missing" | "another"): void;
  /** The shell is as large as somebody else's window. */
  sized(cols: number, rows: number): void;
}

export interface Watcher {
  onState(state: State): void;
  onError(error: TypedError): void;
  /** What was typed is not taken; everything else goes on. */
  onRefused(error: TypedError): void;
  onSession(session: string, mode: Mode | null, name: string | null): void;
  onPeople(people: Person[]): void;
  onExit(code: number | null): void;
  onLatency(ms: number): void;
}

/** Acknowledge after so much was drawn: well below the 512 KiB at which the server stops. */
const ACKNOWLEDGE_EVERY_BYTES = 64 * 1024;
const PING_EVERY_MS = 5_000;
/** Nothing heard for so long, pings included, is a connection that is gone. */
const SILENCE_MAX_MS = 12_000;
/** The code of an error that says so of a shell to come back to. */
const GONE = "session_unknown";
/** A ticket comes at once or the connection is one that is gone. */
const TICKET_WAIT_MS = 5_000;
const RETRY_FIRST_MS = 300;
const RETRY_LAST_MS = 4_000;
/** The server keeps a shell for a minute; beyond it there is nothing to come back to. */
const COME_BACK_WITHIN_MS = 60_000;

export class Connection {
  private socket: WebSocket | null = null;
  private session: string | null = null;
  /** Offset in the shell's output: received, drawn, and acknowledged. */
  private received = 0;
  private drawn = 0;
  private told = 0;
  private retry_ms = RETRY_FIRST_MS;
  private brokenSince: number | null = null;
  private asking = false;
  private timers: number[] = [];
  private pings = new Map<number, number>();
  private nextPing = 0;
  private heardAt = 0;
  private over = false;
  /** The shell of before is gone. */
  private forgot = false;
  /** Old output is drawn: what the screen answers to its questions was answered long ago. */
  private replaying = false;
  /** Draw calls of a connection before this one count no more. */
  private generation = 0;

  constructor(
    private readonly where: Where,
    private readonly screen: Screen,
    private readonly watcher: Watcher,
    private size: { cols: number; rows: number },
    resumed: string | null,
  ) {
    this.session = resumed;
  }

  /** The shell to come back to from a page that is loaded anew. */
  get place(): string | null {
    return this.session;
  }

  async connect(): Promise<void> {
    if (this.over || this.asking) return;
    this.watcher.onState(this.brokenSince === null ? "connecting" : "broken");
    this.asking = true;
    try {
      const { body } = await postWithin<{ ticket: string }>(TICKET_WAIT_MS, "/api/terminal-tickets", this.where);
      if (!this.over) this.open(body.ticket);
    } catch (error) {
      const problem = asProblem(error);
      const passing = problem.code === "unreachable" || problem.status >= 500 || problem.status === 429;
      if (passing && this.brokenSince !== null) this.again();
      else this.fail({ code: problem.code, reason: problem.title, suggestion: problem.title === problem.detail ? null : problem.detail });
    } finally {
      this.asking = false;
    }
  }

  /** The network or the page is back: no need to wait for the next turn. */
  wake(): void {
    if (this.over) return;
    if (this.socket !== null) return this.ping();
    if (this.brokenSince === null || this.asking) return;
    this.quiet();
    void this.connect();
  }

  private open(ticket: string): void {
    const search = new URLSearchParams({ ticket, cols: String(this.size.cols), rows: String(this.size.rows) });
    if (this.session !== null) {
      search.set("session", this.session);
      search.set("offset", String(this.received));
    }
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const path = placeOf(this.where);
    const socket = new WebSocket(`${scheme}//${location.host}/ws/terminal/${path}?${search}`, [SUBPROTOCOL]);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    this.generation += 1;
    this.heardAt = Date.now();
    const mine = () => this.socket === socket;
    socket.onmessage = (message: MessageEvent<ArrayBuffer | string>) => {
      if (!mine()) return;
      this.heardAt = Date.now();
      if (typeof message.data === "string") this.hear(control(message.data));
      else this.take(new Uint8Array(message.data));
    };
    socket.onclose = () => {
      if (mine()) this.dropped();
    };
    this.timers.push(window.setInterval(() => this.ping(), PING_EVERY_MS));
  }

  private take(frame: Uint8Array): void {
    const { generation } = this;
    if (frame[0] === OP.replayed) {
      this.screen.draw(new Uint8Array(), () => {
        if (generation === this.generation) this.ready();
      });
    }
    if (frame[0] !== OP.data) return;
    const bytes = frame.subarray(1);
    this.received += bytes.length;
    this.screen.draw(bytes, () => {
      if (generation !== this.generation) return;
      this.drawn += bytes.length;
      if (this.drawn - this.told < ACKNOWLEDGE_EVERY_BYTES) return;
      this.told = this.drawn;
      this.send([acknowledged(this.drawn)]);
    });
  }

  private hear(said: Control | null): void {
    switch (said?.type) {
      case "session":
        return this.begin(said);
      case "size":
        return this.screen.sized(said.cols, said.rows);
      case "people":
        return this.watcher.onPeople(said.people);
      case "message":
        // whoever comes back to a shell has its screen before them, where a line would be in the way
        if (this.session === null) this.screen.line(said.data);
        return;
      case "error":
        if (said.code === "view_only") return this.watcher.onRefused(said);
        if (said.retryable && this.session !== null) return;
        if (said.code === GONE && this.session !== null) return this.startAnew();
        return this.fail(said);
      case "exit":
        this.finish();
        return this.watcher.onExit(said.code);
      case "pong": {
        const sent = this.pings.get(said.id);
        if (sent !== undefined) this.watcher.onLatency(performance.now() - sent);
        this.pings.delete(said.id);
        return;
      }
      case undefined:
        return;
    }
  }

  private begin(said: Control & { type: "session" }): void {
    const another = this.forgot || (this.session !== null && said.session !== this.session);
    if (another || said.offset > this.received) this.screen.begin(another ? "another" : "missing");
    this.forgot = false;
    this.replaying = said.session === this.session || "share" in this.where;
    this.session = said.session;
    this.received = this.drawn = this.told = said.offset;
    this.brokenSince = null;
    this.retry_ms = RETRY_FIRST_MS;
    this.watcher.onSession(said.session, said.mode ?? ("share" in this.where ? null : "owner"), said.name ?? null);
    if (!this.replaying) this.ready();
    // the window may have changed since the address was made
    this.send([resize(this.size.cols, this.size.rows)]);
    this.ping();
  }

  /** There is no shell to come back to: another one. */
  private startAnew(): void {
    const { socket } = this;
    this.quiet();
    socket?.close(1000);
    this.session = null;
    this.received = 0;
    this.forgot = true;
    void this.connect();
  }

  private ready(): void {
    this.replaying = false;
    this.watcher.onState("ready");
  }

  private ping(): void {
    if (Date.now() - this.heardAt > SILENCE_MAX_MS) {
      const { socket } = this;
      this.dropped();
      socket?.close();
      return;
    }
    const id = this.nextPing++;
    this.pings.set(id, performance.now());
    this.send([JSON.stringify({ type: "ping", id })]);
  }

  private dropped(): void {
    this.quiet();
    if (this.over) return;
    this.brokenSince ??= Date.now();
    this.watcher.onState("broken");
    this.again();
  }

  private again(): void {
    if (this.brokenSince !== null && Date.now() - this.brokenSince > COME_BACK_WITHIN_MS) {
      this.fail({ code: "connection_lost", reason: "", suggestion: null });
      return;
    }
    const wait_ms = this.retry_ms * (0.5 + Math.random() / 2);
    this.retry_ms = Math.min(this.retry_ms * 2, RETRY_LAST_MS);
    this.timers.push(window.setTimeout(() => void this.connect(), wait_ms));
  }

  /** No timer runs and no old socket is listened to. */
  private quiet(): void {
    for (const timer of this.timers) clearTimeout(timer);
    this.timers = [];
    this.pings.clear();
    this.socket = null;
  }

  private finish(): void {
    this.over = true;
    this.session = null;
    const socket = this.socket;
    this.quiet();
    socket?.close(1000);
    this.watcher.onState("ended");
  }

  private fail(error: TypedError): void {
    this.finish();
    this.watcher.onError(error);
  }

  private send(frames: readonly (string | Uint8Array<ArrayBuffer>)[]): void {
    if (this.socket?.readyState !== WebSocket.OPEN) return;
    for (const frame of frames) this.socket.send(frame);
  }

  type(text: string): void {
    if (!this.replaying) this.send(data(text));
  }

  typeBinary(text: string): void {
    if (!this.replaying) this.send(binaryData(text));
  }

  resize(cols: number, rows: number): void {
    this.size = { cols, rows };
    this.send([resize(cols, rows)]);
  }

  /** The page goes; the shell waits on the server for a while. */
  leave(): void {
    this.over = true;
    const socket = this.socket;
    this.quiet();
    socket?.close(1000);
  }
}
