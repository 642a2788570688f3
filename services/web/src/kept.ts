// What does this browser remember between visits? Small texts under our own prefix.
import { signal } from "@preact/signals";
import type { Signal } from "@preact/signals";

const PREFIX = "portreeve.";

/** `null` when nothing is kept, or when storage is closed. */
export function kept(name: string): string | null {
  try {
    return localStorage.getItem(PREFIX + name);
  } catch {
    return null;
  }
}

export function keep(name: string, value: string | null): void {
  try {
    if (value === null) localStorage.removeItem(PREFIX + name);
    else localStorage.setItem(PREFIX + name, value);
  } catch {
    // storage is closed: it holds until the page goes
  }
}

/** A signal whose value is one of a few words, kept. */
export function keptChoice<T extends string>(name: string, choices: readonly T[], otherwise: T): Signal<T> {
  const found = choices.find((choice) => choice === kept(name));
  const chosen = signal<T>(found ?? otherwise);
  chosen.subscribe((value) => {
    if (value !== kept(name) && (value !== otherwise || kept(name) !== null)) keep(name, value);
  });
  return chosen;
}
