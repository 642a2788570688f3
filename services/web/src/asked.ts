// What did the API answer, and how is it asked again? The state of one read, for a component.
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { asProblem } from "./problem";
import type { Problem } from "./problem";

export interface Asked<T> {
  value: T | undefined;
  problem: Problem | undefined;
  /** Asks again; what is shown stays until the answer. */
  again(): void;
  set(change: (value: T) => T): void;
}

/** Asks when the component appears and whenever `about` changes; the newest question wins. */
export function useAsked<T>(ask: (signal: AbortSignal) => Promise<T>, about: readonly unknown[]): Asked<T> {
  const [value, setValue] = useState<T>();
  const [problem, setProblem] = useState<Problem>();
  const asking = useRef<AbortController | null>(null);
  const again = useCallback(() => {
    asking.current?.abort();
    const mine = new AbortController();
    asking.current = mine;
    ask(mine.signal).then(
      (answer) => {
        if (mine.signal.aborted) return;
        setValue(() => answer);
        setProblem(undefined);
      },
      (error) => {
        if (!mine.signal.aborted) setProblem(asProblem(error));
      },
    );
  }, about);
  useEffect(() => {
    again();
    return () => asking.current?.abort();
  }, [again]);
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
