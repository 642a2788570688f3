// What are servers and relays called? The names behind the ids of a batch, as far as the caller may know them.
import { useRef } from "preact/hooks";
import { get, query } from "../api";
import type { Page } from "../api";
import { useAsked } from "../asked";
import type { Relay } from "../relays/relay";
import { seesRelays } from "../relays/relay";
import type { Server } from "../servers/server";
import type { Command } from "./batch";

const PAGE_MAX = 500;
/** As many servers as a batch has at most. */
const PAGES_MAX = 20;

/** An id's name, or the id itself of what was removed or is hidden. */
export type NameOf = (id: string) => string;

async function relayNames(names: Map<string, string>, signal: AbortSignal): Promise<void> {
  const { body } = await get<Page<Relay>>(query("/api/relays", { revoked: "true", limit: PAGE_MAX }), signal);
  for (const { relay_id, name } of body.items) names.set(relay_id, name);
}

/** Page after page, until all that are wanted are known. */
async function serverNames(names: Map<string, string>, wanted: readonly string[], signal?: AbortSignal): Promise<void> {
  let cursor: string | null = null;
  for (let page = 0; page < PAGES_MAX && wanted.some((id) => !names.has(id)); page += 1) {
    const { body }: { body: Page<Server> } = await get<Page<Server>>(query("/api/servers", { limit: PAGE_MAX, cursor }), signal);
    for (const { server_id, name } of body.items) names.set(server_id, name);
    cursor = body.next_cursor;
    if (cursor === null) return;
  }
}

/** Of these servers, as far as they are known. */
export async function namesOf(servers: readonly string[]): Promise<NameOf> {
  const names = new Map<string, string>();
  await serverNames(names, servers);
  return (id) => names.get(id) ?? id;
}

export function useNames(commands: readonly Command[]): NameOf {
  const known = useRef(new Map<string, string>()).current;
  const relays = commands.some((each) => each.relay_id !== null) && seesRelays();
  const ask = async (signal: AbortSignal) => {
    const servers = commands.map((each) => each.server_id);
    await Promise.all([serverNames(known, servers, signal), relays && relayNames(known, signal)]);
    return new Map(known);
  };
  const { value } = useAsked(ask, [commands.length, relays]);
  return (id) => value?.get(id) ?? id;
}
