// Who is signed in? Asked once when the page opens; `undefined` until the answer is there.
import { signal } from "@preact/signals";
import { del, get, hasWord, keepWord, post, whenSignedOut } from "./api";
import { asProblem } from "./problem";

export interface Me {
  actor: string;
  owner: string;
  tenant_id: string;
  role: "admin" | "operator" | "developer" | "auditor";
  expires_at?: string | null;
}

export const me = signal<Me | null | undefined>(undefined);
/** Why the sign-in page is shown, when somebody was signed in before. */
export const ended = signal(false);

whenSignedOut(() => {
  keepWord(null);
  if (me.value) ended.value = true;
  me.value = null;
});

/** What the API says of the cookie that is there. */
export async function resume(): Promise<void> {
  if (!hasWord()) {
    me.value = null;
    return;
  }
  me.value = (await get<Me>("/api/me")).body;
}

export type Proof = { username: string; password: string } | { token: string };

export async function signIn(proof: Proof): Promise<void> {
  const { body } = await post<{ csrf: string }>("/api/session", proof);
  keepWord(body.csrf);
  me.value = (await get<Me>("/api/me")).body;
  ended.value = false;
}

export async function signOut(): Promise<void> {
  try {
    await del("/api/session");
  } catch (error) {
    // a session that is over already is what was asked for
    if (asProblem(error).code !== "unauthorized") throw error;
  }
  keepWord(null);
  ended.value = false;
  me.value = null;
}

/** Auditors look and change nothing. */
export function mayWrite(): boolean {
  return me.value !== null && me.value !== undefined && me.value.role !== "auditor";
}
