// What does the API say of grants? Its shapes; what a grant carries beyond what this page knows goes back as it came.
import { fresh, get, put } from "../api";
import type { Page } from "../api";
import { t } from "../i18n/words";
import { labelsOf } from "../labels";
import { keepsServers } from "../servers/server";
import type { Right, Server } from "../servers/server";
import { me } from "../session";

export const KINDS = ["user", "role", "group"] as const;
export type Kind = (typeof KINDS)[number];
export const RIGHTS: readonly Right[] = ["terminal", "command", "facts"];
const KNOWN = [...KINDS, "may", "from", "until"];
const PAGE_MAX = 500;
/** As many places with grants as a tenant has at most. */
const PAGES_MAX = 10;

/** Of `user`, `role` and `group` there is one. */
export interface Grant {
  user?: string;
  role?: string;
  group?: string;
  may: Right[];
  from?: string;
  until?: string;
  [more: string]: unknown;
}

export const PLACES = ["zone", "group", "label"] as const;
export type PlaceKind = (typeof PLACES)[number];
/** On which servers: there is one of them. */
export type Place = { [kind in PlaceKind | "server"]?: string };

export interface Grants {
  /** In lists. */
  tenant_id?: string;
  servers: Place;
  grants: Grant[];
}

export interface PeopleGroup {
  tenant_id: string;
  name: string;
  members: string[];
  updated_at: string;
}

/** Developers are shown what they may, not who else does. */
export const seesGrants = () => me.value?.role !== "developer";

/** An administrator sees all tenants' and writes for its own. */
export const mayGrant = (tenant_id: string | undefined) => keepsServers() && (tenant_id === undefined || tenant_id === me.value?.tenant_id);

export function toWhom(grant: Grant): { kind: Kind; name: string } {
  const kind = KINDS.find((each) => grant[each] !== undefined) ?? "user";
  return { kind, name: grant[kind] ?? "" };
}

/** What this page has no words for. */
export const moreOf = (grant: Grant): [string, unknown][] => Object.entries(grant).filter(([name]) => !KNOWN.includes(name));

export type Standing = "counts" | "not_yet" | "over";

export function standingOf({ from, until }: Grant, now_ms: number): Standing {
  if (until !== undefined && Date.parse(until) <= now_ms) return "over";
  return from !== undefined && Date.parse(from) > now_ms ? "not_yet" : "counts";
}

export function placeText(place: Place): string {
  for (const kind of PLACES) {
    const name = place[kind];
    if (name !== undefined) return t(`grant.place.${kind}.of`, { name });
  }
  return place.server ?? "";
}

/** Everything but its id by which a server can be meant. */
export function placesOf(server: Server): Place[] {
  return [
    ...(server.zone === null ? [] : [{ zone: server.zone }]),
    ...server.groups.map((group) => ({ group })),
    ...labelsOf(server).map((label) => ({ label })),
  ];
}

const same = (one: unknown, other: unknown) => JSON.stringify(one) === JSON.stringify(other);

/** Page after page, as they are now. */
export async function listPlaces(parts: Place, signal?: AbortSignal): Promise<Grants[]> {
  const all: Grants[] = [];
  let cursor: string | null = null;
  for (let page = 0; page < PAGES_MAX; page += 1) {
    const { body }: { body: Page<Grants> } = await get<Page<Grants>>(fresh("/api/server-grants", { ...parts, limit: PAGE_MAX, cursor }), signal);
    all.push(...body.items);
    cursor = body.next_cursor;
    if (cursor === null) break;
  }
  return all;
}

/** Of those that are listed, the caller's own that hold for this server beside its own grants. */
export async function grantsAround(server: Server, signal: AbortSignal): Promise<Grants[]> {
  const places = placesOf(server);
  if (places.length === 0) return [];
  const listed = await listPlaces({}, signal);
  return listed.filter(({ tenant_id, servers }) => tenant_id === server.tenant_id && places.some((place) => same(place, servers)));
}

async function grantsOf(place: Place): Promise<Grant[]> {
  if (place.server !== undefined) return (await get<Grants>(fresh(`/api/servers/${place.server}/grants`))).body.grants;
  const listed = await listPlaces(place);
  return listed.find(({ tenant_id }) => tenant_id === me.value?.tenant_id)?.grants ?? [];
}

async function setGrants(place: Place, grants: Grant[]): Promise<void> {
  if (place.server !== undefined) await put(`/api/servers/${place.server}/grants`, { grants });
  else await put("/api/server-grants", { servers: place, grants });
}

/**
 * One grant in the place of another, one more without `before`, one less without `after`. The API takes all of a
 * place at once: the others are asked for anew, so that what somebody else granted meanwhile stays.
 */
export async function change(place: Place, before: Grant | undefined, after: Grant | undefined): Promise<void> {
  const all = await grantsOf(place);
  const at = all.findIndex((each) => same(each, before));
  if (after === undefined) await setGrants(place, all.filter((_, index) => index !== at));
  else if (at < 0) await setGrants(place, [...all, after]);
  else await setGrants(place, all.map((each, index) => (index === at ? after : each)));
}

/** As an input for date and time has it: the person's own time. */
export function localOf(time: string | undefined): string {
  if (time === undefined) return "";
  const at = new Date(time);
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

/** What was not changed stays as exact as it was. */
export function instantOf(local: string, before: string | undefined): string | undefined {
  if (local === localOf(before)) return before;
  return local === "" ? undefined : new Date(local).toISOString();
}
