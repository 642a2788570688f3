// What did the API answer, and how is it asked again? The state of one read, for a component.
import { useCallback, useEffect, useMemo, useState } from "preact/hooks";
import { asProblem } from "./problem";
import type { Problem } from "./problem";

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
        try {
          const answer = await ask(signal);
          if (signal.aborted) break;
          setValue(() => answer);
          setProblem(undefined);
        } catch (error) {
          if (!signal.aborted) setProblem(asProblem(error));
        }
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
