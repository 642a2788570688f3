// What do browser and server say to each other about a terminal? The subprotocol
// `portreeve.terminal.v1`: bytes in binary frames, everything else in JSON text frames.
//
//   binary, both ways   [op u8][payload]
//     0 data            bytes of the terminal, either way
//     1 resize          client: columns u16, rows u16 (big-endian)
//     2 acknowledged    client: u64, the offset in the output up to which it was drawn
//     3 end of replay   server: what follows is new
//   text, server        {type:"session", session, offset}    which shell, and at which offset the next data stand
//                       {type:"message", data}               a status line
//                       {type:"error", code, reason, suggestion, retryable}
//                       {type:"exit", code}
//                       {type:"pong", id}
//   text, client        {type:"ping", id}
//
// The address is /ws/terminal/environments/{id}?ticket=...&cols=&rows=, and &session=&offset= to come
// back to a shell: the server replays from that offset as far as its ring reaches, says in `session`
// where it begins, and ends with op 3.

export const SUBPROTOCOL = "portreeve.terminal.v1";

export const OP = { data: 0, resize: 1, acknowledged: 2, replayed: 3 } as const;

export type Control =
  | { type: "session"; session: string; offset: number }
  | { type: "message"; data: string }
  | { type: "error"; code: string; reason: string; suggestion: string | null; retryable: boolean }
  | { type: "exit"; code: number | null }
  | { type: "pong"; id: number };

const encoder = new TextEncoder();

/** What somebody typed. */
export function data(text: string): Uint8Array<ArrayBuffer> {
  return framed(OP.data, encoder.encode(text));
}

/** What a mouse or a program sends: one byte a character. */
export function binaryData(text: string): Uint8Array<ArrayBuffer> {
  return framed(OP.data, Uint8Array.from(text, (character) => character.charCodeAt(0) & 0xff));
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

function framed(op: number, payload: Uint8Array): Uint8Array<ArrayBuffer> {
  const frame = new Uint8Array(1 + payload.length);
  frame[0] = op;
  frame.set(payload, 1);
  return frame;
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
  const known = ["session", "message", "error", "exit", "pong"].includes(String(said.type));
  return known ? (said as Control) : null;
}
