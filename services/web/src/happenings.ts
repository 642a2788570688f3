// What happens now? One stream for all parts of the page, open while any of them listens.
import { useEffect } from "preact/hooks";
import { heardOf } from "./api";
import { useAsked } from "./asked";
import type { Asked } from "./asked";
import { follow } from "./sse";
import type { Event } from "./sse";

interface Listener {
  onBegin?(): void;
  onEvent(event: Event): void;
}

const listeners = new Set<Listener>();
let end: (() => void) | null = null;

function listen(listener: Listener): () => void {
  listeners.add(listener);
  end ??= follow("/api/events", {}, {
    onBegin: (position) => {
      heardOf(position);
      listeners.forEach((each) => each.onBegin?.());
    },
    onEvent: (event) => {
      heardOf(event.seq);
      listeners.forEach((each) => each.onEvent(event));
    },
  });
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0) {
      end?.();
      end = null;
    }
  };
}

/** While the component is shown, `listener` hears every event that the caller may see. */
export function useHappenings(listener: Listener, about: readonly unknown[]): void {
  useEffect(() => listen(listener), about);
}

/**
 * One read that stays up to date: it is asked again at every event that `concerns` it, and when the
 * stream begins, for what happened before. `ask` reads through `fresh`, so that no answer is older
 * than the event that rang.
 */
export function useFollowed<T>(
  ask: (signal: AbortSignal) => Promise<T>,
  concerns: (event: Event) => boolean,
  about: readonly unknown[],
): Asked<T> {
  const asked = useAsked(ask, about);
  const onEvent = (event: Event) => {
    if (concerns(event)) asked.again();
  };
  useHappenings({ onBegin: asked.again, onEvent }, [asked.again]);
  return asked;
}
