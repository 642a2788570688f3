// What does the API say of relays? Its shapes, and what a connection means to a person.
import type { Tone } from "../environments/environment";
import { isKey, t } from "../i18n/words";
import { labelsOf } from "../labels";
import { me } from "../session";

export interface Relay {
  relay_id: string;
  name: string;
  zone: string | null;
  labels: Record<string, string>;
  /** Ranges from which it may connect; none means anywhere. */
  addresses: string[];
  in_flight_max: number;
  /** Commands that it has at this moment. */
  in_flight: number;
  connected: boolean;
  /** It registered itself, and waits to be accepted. */
  pending: boolean;
  revoked: boolean;
  /** Counts its connections; 0 before the first. */
  epoch: number;
  address: string | null;
  client: string | null;
  changed_at: string | null;
  /** Why its newest connection ended. */
  reason: string | null;
  created_at: string;
}

/** What registering and rotating answer, this once. */
export interface RelayKey {
  relay_id: string;
  proxy_id: string;
  api_key: string;
  previous_until: string | null;
}

export type Standing = "pending" | "connected" | "gone" | "awaited";

export function standingOf({ pending, connected, epoch }: Relay): Standing {
  if (pending) return "pending";
  if (connected) return "connected";
  return epoch > 0 ? "gone" : "awaited";
}

export const TONES: Record<Standing, Tone> = { pending: "busy", connected: "good", gone: "bad", awaited: "still" };

/** Developers hear nothing of relays. */
export const seesRelays = () => me.value?.role !== "developer";

/** Which servers it serves beside those that name it. */
export const servedBy = (relay: Relay): string[] => [...(relay.zone === null ? [] : [relay.zone]), ...labelsOf(relay)];

export function reasonText(reason: string): string {
  const key = `relay.reason.${reason}`;
  return isKey(key) ? t(key) : reason.replaceAll("_", " ");
}
