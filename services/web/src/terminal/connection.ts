// How does the page stay with its shell? One connection at a time, come back to after a drop, with
// what was drawn acknowledged so that the server sends no more than can be drawn.
import { post } from "../api";
import { asProblem } from "../problem";
import { OP, SUBPROTOCOL, acknowledged, binaryData, control, data, resize } from "./protocol";
import type { Control } from "./protocol";

export type State = "connecting" | "ready" | "broken" | "ended";

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
  /** Older output than the server still has is missing, or another shell begins. */
  begin(missing: boolean): void;
}

export interface Watcher {
  onState(state: State): void;
  onError(error: TypedError): void;
  onExit(code: number | null): void;
  onLatency(ms: number): void;
}

/** Acknowledge after so much was drawn: well below the 512 KiB at which the server stops. */
const ACKNOWLEDGE_EVERY_BYTES = 64 * 1024;
const PING_EVERY_MS = 5_000;
/** Nothing heard for so long, pings included, is a connection that is gone. */
const SILENCE_MAX_MS = 20_000;
const RETRY_FIRST_MS = 300;
const RETRY_LAST_MS = 8_000;
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
  private timers: number[] = [];
  private pings = new Map<number, number>();
  private nextPing = 0;
  private heardAt = 0;
  private over = false;
  /** Draw calls of a connection before this one count no more. */
  private generation = 0;

  constructor(
    private readonly environment: string,
    private readonly screen: Screen,
    private readonly watcher: Watcher,
    private size: { cols: number; rows: number },
    resumed: { session: string; offset: number } | null,
  ) {
    if (resumed) {
      this.session = resumed.session;
      this.received = this.drawn = this.told = resumed.offset;
    }
  }

  /** What it takes to come back to this shell from another page. */
  get place(): { session: string; offset: number } | null {
    return this.session === null ? null : { session: this.session, offset: this.drawn };
  }

  async connect(): Promise<void> {
    if (this.over) return;
    this.watcher.onState(this.brokenSince === null ? "connecting" : "broken");
    let ticket: string;
    try {
      const asked = await post<{ ticket: string }>("/api/terminal-tickets", { environment: this.environment });
      ticket = asked.body.ticket;
    } catch (error) {
      const problem = asProblem(error);
      const passing = problem.code === "unreachable" || problem.status >= 500 || problem.status === 429;
      if (passing && this.brokenSince !== null) return this.again();
      return this.fail({ code: problem.code, reason: problem.title, suggestion: problem.title === problem.detail ? null : problem.detail });
    }
    if (!this.over) this.open(ticket);
  }

  private open(ticket: string): void {
    const search = new URLSearchParams({ ticket, cols: String(this.size.cols), rows: String(this.size.rows) });
    if (this.session !== null) {
      search.set("session", this.session);
      search.set("offset", String(this.received));
    }
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}/ws/terminal/environments/${this.environment}?${search}`, [SUBPROTOCOL]);
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
    if (frame[0] === OP.replayed) {
      this.watcher.onState("ready");
      return;
    }
    if (frame[0] !== OP.data) return;
    const bytes = frame.subarray(1);
    const { generation } = this;
    this.received += bytes.length;
    this.screen.draw(bytes, () => {
      if (generation !== this.generation) return;
      this.drawn += bytes.length;
      if (this.drawn - this.told < ACKNOWLEDGE_EVERY_BYTES && this.drawn !== this.received) return;
      this.told = this.drawn;
      this.send(acknowledged(this.drawn));
    });
  }

  private hear(said: Control | null): void {
    switch (said?.type) {
      case "session": {
        const same = said.session === this.session;
        if (!same || said.offset > this.received) this.screen.begin(same);
        this.session = said.session;
        this.received = this.drawn = this.told = said.offset;
        this.brokenSince = null;
        this.retry_ms = RETRY_FIRST_MS;
        this.watcher.onState("ready");
        this.ping();
        break;
      }
      case "message":
        this.screen.line(said.data);
        break;
      case "error":
        if (said.retryable && this.session !== null) break;
        this.fail(said);
        break;
      case "exit":
        this.finish();
        this.watcher.onExit(said.code);
        break;
      case "pong": {
        const sent = this.pings.get(said.id);
        if (sent !== undefined) this.watcher.onLatency(performance.now() - sent);
        this.pings.delete(said.id);
        break;
      }
      case undefined:
        break;
    }
  }

  private ping(): void {
    if (Date.now() - this.heardAt > SILENCE_MAX_MS) {
      this.socket?.close();
      this.dropped();
      return;
    }
    const id = this.nextPing++;
    this.pings.set(id, performance.now());
    this.send(JSON.stringify({ type: "ping", id }));
  }

  private dropped(): void {
    this.quiet();
    if (this.over) return;
    this.brokenSince ??= Date.now();
    if (Date.now() - this.brokenSince > COME_BACK_WITHIN_MS) {
      this.fail({ code: "connection_lost", reason: "", suggestion: null });
      return;
    }
    this.watcher.onState("broken");
    this.again();
  }

  private again(): void {
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

  private send(frame: string | Uint8Array<ArrayBuffer>): void {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(frame);
  }

  type(text: string): void {
    this.send(data(text));
  }

  typeBinary(text: string): void {
    this.send(binaryData(text));
  }

  resize(cols: number, rows: number): void {
    this.size = { cols, rows };
    this.send(resize(cols, rows));
  }

  /** The page goes; the shell waits on the server for a while. */
  leave(): void {
    this.over = true;
    const socket = this.socket;
    this.quiet();
    socket?.close(1000);
  }
}
