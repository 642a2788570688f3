// Which password was just shown? A create shows it once; it is kept in memory until its page took it.
const shown = new Map<string, string>();

export function rememberShown(env: string, password: string | null): void {
  if (password !== null) shown.set(env, password);
}

export function takeShown(env: string): string | undefined {
  const password = shown.get(env);
  shown.delete(env);
  return password;
}
