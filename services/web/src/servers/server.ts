// What does the API say of servers? Its shapes, and what the newest test means to a person.
import type { Tone } from "../environments/environment";
import { me } from "../session";
import type { Event } from "../sse";

/** Longer than the API takes where it goes to a server and looks around there. */
export const LOOKS_WITHIN_MS = 100_000;

export type Right = "terminal" | "command" | "facts";

export interface Test {
  ok: boolean;
  class: string | null;
  reason: string | null;
  suggestion: string | null;
  step: string;
  identification: string | null;
  duration_ms: number;
  at: string | null;
}

export interface Server {
  server_id: string;
  tenant_id: string;
  name: string;
  host: string;
  port: number;
  username: string;
  method: "password" | "private_key" | "certificate";
  zone: string | null;
  relay: string | null;
  groups: string[];
  labels: Record<string, string>;
  host_key: string | null;
  host_key_fingerprint: string | null;
  host_key_seen_fingerprint: string | null;
  may: Right[];
  test: Test | null;
  created_at: string;
  updated_at: string;
}

/** What saving answers. */
export interface Saved {
  server_id: string;
  name: string;
  test: Test | null;
}

export type Standing = "ok" | "failed" | "untested";

export const standingOf = ({ test }: Server): Standing => (test === null ? "untested" : test.ok ? "ok" : "failed");

export const TONES: Record<Standing, Tone> = { ok: "good", failed: "bad", untested: "still" };

/** Who registers servers and says who may use them. */
export const keepsServers = () => me.value?.role === "admin" || me.value?.role === "operator";

/** `deploy@web1.example.org`, and the port if it is another than SSH's own. */
export function placeOf({ username, host, port }: Server): string {
  const at = host.includes(":") ? `[${host}]` : host;
  return `${username}@${at}${port === 22 ? "" : `:${port}`}`;
}

export const mayRun = ({ may }: Server) => may.includes("command");

/** Something happened to the server, and it is still there to be asked. */
export const concerns = (id: string) => (event: Event) => isAbout(id, event) && event.type !== "ServerRemoved";

export const isGone = (id: string, event: Event) => isAbout(id, event) && event.type === "ServerRemoved";

const isAbout = (id: string, event: Event) => event.kind === "server" && event.aggregateid === id;
