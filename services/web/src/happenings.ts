// What happens now? One stream for all parts of the page, open while any of them listens.
import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { follow } from "./sse";
import type { Event, Following } from "./sse";

/** How the stream is. */
export const live = signal<Following>("connecting");

const listeners = new Set<(event: Event) => void>();
let end: (() => void) | null = null;

function listen(listener: (event: Event) => void): () => void {
  listeners.add(listener);
  end ??= follow("/api/events", {}, {
    onEvent: (event) => listeners.forEach((each) => each(event)),
    onState: (state) => (live.value = state),
  });
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0) {
      end?.();
      end = null;
      live.value = "connecting";
    }
  };
}

/** While the component is shown, `listener` hears every event that the caller may see. */
export function useHappenings(listener: (event: Event) => void, about: readonly unknown[]): void {
  useEffect(() => listen(listener), about);
}
