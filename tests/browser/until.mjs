// Is it so by now? Waits until a condition holds, at most so long, and says what was last seen.
import { setTimeout as pause } from "node:timers/promises";

const LOOK_EVERY_MS = 50;

/** `look` answers with a value, or throws what it saw instead. */
export async function until(what, at_most_ms, look) {
  const end = Date.now() + at_most_ms;
  for (;;) {
    try {
      return await look();
    } catch (seen) {
      if (Date.now() > end) throw new Error(`not within ${at_most_ms / 1000} s: ${what}; last seen: ${seen.message}`);
    }
    await pause(LOOK_EVERY_MS);
  }
}

export function holds(condition, otherwise) {
  if (!condition) throw new Error(otherwise);
}
