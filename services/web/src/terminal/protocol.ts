// What do browser and server say to each other about a terminal? The subprotocol
// `portreeve.terminal.v1`: bytes in binary frames, everything else in JSON text frames.
//
//   binary, both ways   [op u8][payload]
//     0 data            bytes of the terminal, either way
//     1 resize          client: columns u16, rows u16 (big-endian)
//     2 acknowledged    client: u64, the offset in the output up to which it was drawn
//     3 end of replay   server: what follows is new
//   text, server        {type:"session", session, offset, mode?, name?}   which shell, and at which offset the next data stand
//                       {type:"size", cols, rows}            of the shell, for those who do not decide it
//                       {type:"people", people:[{user, mode}]}   who is here, whenever that changes
//                       {type:"message", data}               a status line
//                       {type:"error", code, reason, suggestion, retryable}
//                       {type:"exit", code}
//                       {type:"pong", id}
//   text, client        {type:"ping", id}
//
// The address is /ws/terminal/environments/{id}?ticket=...&cols=&rows=, and &session=&offset= to come
// back to a shell: the server replays from that offset as far as its ring reaches, says in `session`
// where it begins, and ends with op 3. Somebody else's shell is at /ws/terminal/shares/{share}?ticket=...

export const SUBPROTOCOL = "portreeve.terminal.v1";

export const OP = { data: 0, resize: 1, acknowledged: 2, replayed: 3 } as const;

/** One's own shell; somebody else's, to type in or to look at. */
export type Mode = "owner" | "write" | "view";

export interface Person {
  user: string;
  mode: Mode;
}

export type Control =
  | { type: "session"; session: string; offset: number; mode?: Mode; name?: string }
  | { type: "size"; cols: number; rows: number }
  | { type: "people"; people: Person[] }
  | { type: "message"; data: string }
  | { type: "error"; code: string; reason: string; suggestion: string | null; retryable: boolean }
  | { type: "exit"; code: number | null }
  | { type: "pong"; id: number };

const KINDS: readonly string[] = ["session", "size", "people", "message", "error", "exit", "pong"] satisfies Control["type"][];
/** A frame carries no more than this of what somebody pastes. */
const DATA_MAX_BYTES = 16 * 1024;

const encoder = new TextEncoder();

/** What somebody typed or pasted, in as many frames as it takes. */
export function data(text: string): Uint8Array<ArrayBuffer>[] {
  return framed(encoder.encode(text));
}

/** What a mouse or a program sends: one byte a character. */
export function binaryData(text: string): Uint8Array<ArrayBuffer>[] {
  return framed(Uint8Array.from(text, (character) => character.charCodeAt(0) & 0xff));
}

export function resize(cols: number, rows: number): Uint8Array<ArrayBuffer> {
  const frame = new Uint8Array(5);
  const view = new DataView(frame.buffer);
  view.setUint8(0, OP.resize);
  view.setUint16(1, cols);
  view.setUint16(3, rows);
  return frame;
}

export function acknowledged(offset: number): Uint8Array<ArrayBuffer> {
  const frame = new Uint8Array(9);
  const view = new DataView(frame.buffer);
  view.setUint8(0, OP.acknowledged);
  view.setBigUint64(1, BigInt(offset));
  return frame;
}

function framed(payload: Uint8Array): Uint8Array<ArrayBuffer>[] {
  const frames = [];
  for (let at = 0; at < payload.length; at += DATA_MAX_BYTES) {
    const part = payload.subarray(at, at + DATA_MAX_BYTES);
    const frame = new Uint8Array(1 + part.length);
    frame[0] = OP.data;
    frame.set(part, 1);
    frames.push(frame);
  }
  return frames;
}

/** `null` for a message of a kind that this page is too old for. */
export function control(text: string): Control | null {
  let said: unknown;
  try {
    said = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof said !== "object" || said === null || !("type" in said)) return null;
  return KINDS.includes(String(said.type)) ? (said as Control) : null;
}
