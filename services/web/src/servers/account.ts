// What does the API say of accounts on a server? Its shapes, and how a change is asked for.
import { delWithin, postWithin } from "../api";
import { wordsOf } from "../labels";
import type { Finding } from "./findings";
import { LOOKS_WITHIN_MS } from "./server";

export type Action = "push" | "verify" | "rotate" | "remove";

/** How a change ended. */
export interface Change {
  change_id: string;
  account: string;
  action: Action;
  /** `lost`: nobody said how it ended before its deadline. */
  outcome: "done" | "failed" | "lost";
  class: string | null;
  reason: string | null;
  suggestion: string | null;
  /** The account was not there before. */
  made: boolean;
  /** In the answer of the change itself, as far as somebody got. */
  findings?: Finding[];
}

export interface Account {
  account: string;
  there: boolean;
  /** It was made from here. */
  ours: boolean;
  public_keys: string[];
  pending: Action | null;
  deadline: string | null;
  last: Change | null;
}

export interface Wish {
  account: string;
  keys: string;
  groups: string;
  shell: string;
  sudo: "kept" | "yes" | "no";
}

/** One a line. */
const keysOf = (text: string) => text.split("\n").map((line) => line.trim()).filter((line) => line !== "");

const pathOf = (server: string, account: string) => `/api/servers/${server}/accounts/${encodeURIComponent(account)}`;

export async function push(server: string, { account, keys, groups, shell, sudo }: Wish): Promise<Change> {
  const body = {
    account: account.trim(),
    public_keys: keysOf(keys),
    groups: wordsOf(groups),
    ...(shell.trim() === "" ? {} : { shell: shell.trim() }),
    ...(sudo === "kept" ? {} : { sudo: sudo === "yes" }),
  };
  return (await postWithin<Change>(LOOKS_WITHIN_MS, `/api/servers/${server}/accounts`, body)).body;
}

export const verify = async (server: string, account: string) => (await postWithin<Change>(LOOKS_WITHIN_MS, `${pathOf(server, account)}/verify`, {})).body;

export const rotate = async (server: string, account: string, keys: string) =>
  (await postWithin<Change>(LOOKS_WITHIN_MS, `${pathOf(server, account)}/rotate`, { public_keys: keysOf(keys) })).body;

export const remove = async (server: string, account: string, remove_home: boolean) =>
  (await delWithin<Change>(LOOKS_WITHIN_MS, pathOf(server, account), { remove_home })).body;

/** Its kind and its end, to know it by. */
export function keyText(line: string): string {
  const [kind = "", key = ""] = line.split(" ");
  return `${kind} …${key.slice(-10)}`;
}
