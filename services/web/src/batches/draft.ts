// What is about to be run? Said by the page that leads to the form, and kept while the form is open.
import { broughtAlong, go } from "../router";

/** Servers that the form names one by one. */
export const NAMED_MAX = 50;

export interface Draft {
  servers: { server_id: string; name: string }[];
  command?: string;
  timeout_ms?: number;
  idempotent?: boolean;
  concurrency?: number;
  stop_after_failures?: number | null;
}

export const toForm = (draft: Draft) => go("/batches/new", false, { draft });

/** Nothing when the address was typed. */
export function broughtDraft(): Draft {
  const along = broughtAlong() as { draft?: Draft } | null;
  return along?.draft ?? { servers: [] };
}
