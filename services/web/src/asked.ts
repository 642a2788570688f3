// What did the API answer, and how is it asked again? The state of one read, for a component.
import { useCallback, useEffect, useMemo, useState } from "preact/hooks";
import { freshKey } from "./api";
import { asProblem } from "./problem";
import type { Problem } from "./problem";

/** From an answer to the next question: as long as the answer took, within these. What rings oftener is answered together. */
const REST_MIN_MS = 200;
const REST_MAX_MS = 2_000;

export interface Asked<T> {
  value: T | undefined;
  problem: Problem | undefined;
  /** Asks again, after the answer under way if there is one; what is shown stays until the answer. */
  again(): void;
  set(change: (value: T) => T): void;
}

/** Asks when the component appears and whenever `about` changes. */
export function useAsked<T>(ask: (signal: AbortSignal) => Promise<T>, about: readonly unknown[]): Asked<T> {
  const [value, setValue] = useState<T>();
  const [problem, setProblem] = useState<Problem>();
  const { again, begin } = useMemo(() => {
    let over: AbortController | null = null;
    let underWay = false;
    let rung = false;
    const again = () => {
      rung = true;
      if (!underWay && over) void askWhileRung(over.signal);
    };
    const askWhileRung = async (signal: AbortSignal) => {
      underWay = true;
      while (rung && !signal.aborted) {
        rung = false;
        const began = performance.now();
        try {
          const answer = await ask(signal);
          if (signal.aborted) break;
          setValue(() => answer);
          setProblem(undefined);
        } catch (error) {
          if (!signal.aborted) setProblem(asProblem(error));
        }
        const rest_ms = Math.min(REST_MAX_MS, Math.max(REST_MIN_MS, performance.now() - began));
        await new Promise((then) => setTimeout(then, rest_ms));
      }
      underWay = false;
    };
    const begin = () => {
      const mine = new AbortController();
      over = mine;
      again();
      return () => mine.abort();
    };
    return { again, begin };
  }, about);
  useEffect(begin, [begin]);
  const set = useCallback((change: (value: T) => T) => {
    setValue((known) => (known === undefined ? known : change(known)));
  }, []);
  return { value, problem, again, set };
}

/** A write: busy while it is under way, its problem when it fails. */
export function useAct(): { busy: boolean; problem: Problem | undefined; act(what: () => Promise<void>): void; clear(): void } {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem>();
  const act = (what: () => Promise<void>) => {
    if (busy) return;
    setBusy(true);
    setProblem(undefined);
    what()
      .catch((error) => setProblem(asProblem(error)))
      .finally(() => setBusy(false));
  };
  return { busy, problem, act, clear: () => setProblem(undefined) };
}

/** Gives a request its idempotency key: after an unclear answer a second press is the same request, after a clear one another. */
export function useOnce(): <T>(request: (key: string) => Promise<T>) => Promise<T> {
  return useMemo(() => {
    let key = freshKey();
    return async (request) => {
      try {
        const answer = await request(key);
        key = freshKey();
        return answer;
      } catch (error) {
        if (asProblem(error).status !== 0) key = freshKey();
        throw error;
      }
    };
  }, []);
}
