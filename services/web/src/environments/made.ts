// Since when is there such an environment? Whoever just made one asks for it as of then, not of before.
const made = new Map<string, number>();

export function rememberMade(id: string, position: number | null): void {
  if (position !== null) made.set(id, position);
}

/** Sequence in the log; 0 where somebody else made it. */
export function madeAt(id: string): number {
  return made.get(id) ?? 0;
}
