// How does the page speak with the API? JSON with the session's cookie and, beside it, the word that
// only this origin knows: a cookie goes to every port of the host, this word does not.
import { kept, keep } from "./kept";
import { asProblem, problemOf } from "./problem";
import type { Problem } from "./problem";

export const CSRF_HEADER = "X-Portreeve-CSRF";
const CSRF_KEPT = "csrf";
/** Longer than the API takes to answer anything. */
const ANSWER_WAIT_MS = 30_000;
const READ_AGAIN_AFTER_MS = 500;

export interface Answer<T> {
  body: T;
}

export interface Page<T> {
  items: T[];
  next_cursor: string | null;
}

interface Asked {
  body?: unknown;
  /** The same key, the same answer. */
  idempotencyKey?: string;
  signal?: AbortSignal;
  within_ms?: number;
}

/** Called when the API does not know us any more. */
let onSignedOut = (): void => {};
export function whenSignedOut(then: () => void): void {
  onSignedOut = then;
}

/** The newest sequence that this page has heard of or made. */
let newest = 0;
export function heardOf(position: number): void {
  newest = Math.max(newest, position);
}

/** A read that shows nothing older than what this page knows already. */
export function fresh(path: string, parts: Parts = {}): string {
  return query(path, { ...parts, after: newest || undefined });
}

export function hasWord(): boolean {
  return kept(CSRF_KEPT) !== null;
}

export function keepWord(word: string | null): void {
  keep(CSRF_KEPT, word);
}

/** The headers by which a request of this page is known. */
export function ownHeaders(): Record<string, string> {
  const word = kept(CSRF_KEPT);
  return word === null ? {} : { [CSRF_HEADER]: word };
}

/** The answer, which says yes; everything else is a problem. */
async function answered(method: string, path: string, accept: string, asked: Asked): Promise<Response> {
  const headers: Record<string, string> = { Accept: accept, ...ownHeaders() };
  if (asked.body !== undefined) headers["Content-Type"] = "application/json";
  if (asked.idempotencyKey) headers["Idempotency-Key"] = asked.idempotencyKey;
  const within = AbortSignal.timeout(asked.within_ms ?? ANSWER_WAIT_MS);
  const init: RequestInit = {
    method,
    headers,
    credentials: "same-origin",
    cache: "no-store",
    signal: asked.signal ? AbortSignal.any([asked.signal, within]) : within,
  };
  if (asked.body !== undefined) init.body = JSON.stringify(asked.body);
  let response: Response;
  try {
    response = await fetch(path, init).catch((error) => {
      if (method !== "GET" || init.signal?.aborted) throw error;
      return onceMore(path, init);
    });
  } catch (error) {
    throw asProblem(error);
  }
  if (!response.ok) {
    const problem: Problem = await problemOf(response);
    if (problem.code === "unauthorized") {
      newest = 0;
      onSignedOut();
    }
    throw problem;
  }
  return response;
}

async function call<T>(method: string, path: string, asked: Asked = {}): Promise<Answer<T>> {
  const response = await answered(method, path, "application/json", asked);
  heardOf(positionOf(response) ?? 0);
  const text = await response.text();
  return { body: (text === "" ? null : JSON.parse(text)) as T };
}

/** The sequence in the log that an answer shows, or that it made. */
export function positionOf(response: Response): number | null {
  const position = response.headers.get("portreeve-position");
  return position === null ? null : Number(position);
}

/** A read that got no answer is asked again: a network that changes drops what is under way. */
async function onceMore(path: string, init: RequestInit): Promise<Response> {
  await new Promise((then) => setTimeout(then, READ_AGAIN_AFTER_MS));
  return fetch(path, init);
}

export const get = <T>(path: string, signal?: AbortSignal) => call<T>("GET", path, signal ? { signal } : {});
export const getText = async (path: string) => (await answered("GET", path, "*/*", {})).text();
export const getBlob = async (path: string) => (await answered("GET", path, "*/*", {})).blob();
export const post = <T>(path: string, body: unknown = {}, idempotencyKey?: string) =>
  call<T>("POST", path, idempotencyKey ? { body, idempotencyKey } : { body });
/** For whoever asks again rather than wait. */
export const postWithin = <T>(within_ms: number, path: string, body: unknown) => call<T>("POST", path, { body, within_ms });
export const patch = <T>(path: string, body: unknown, idempotencyKey?: string) =>
  call<T>("PATCH", path, idempotencyKey ? { body, idempotencyKey } : { body });
export const put = <T>(path: string, body: unknown) => call<T>("PUT", path, { body });
export const del = <T>(path: string) => call<T>("DELETE", path);
export const delWithin = <T>(within_ms: number, path: string, body: unknown) => call<T>("DELETE", path, { body, within_ms });

export type Parts = Record<string, string | number | null | undefined>;

/** A path with its query; what is undefined or empty is left out. */
export function query(path: string, parts: Parts): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(parts)) {
    if (value !== null && value !== undefined && value !== "") search.set(name, String(value));
  }
  const text = search.toString();
  return text === "" ? path : `${path}?${text}`;
}

/** 128 bits for an idempotency key; `crypto.randomUUID` is only there over HTTPS. */
export function freshKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
