// How are labels written? As words between blanks and commas, `key=value`.
export const wordsOf = (text: string) => text.split(/[\s,]+/).filter((part) => part !== "");

export function labelsFrom(text: string): Record<string, string> {
  const pairs = wordsOf(text).map((word) => {
    const at = word.indexOf("=");
    return at < 0 ? ([word, ""] as const) : ([word.slice(0, at), word.slice(at + 1)] as const);
  });
  return Object.fromEntries(pairs);
}

export const labelsOf = ({ labels }: { labels: Record<string, string> }): string[] => Object.entries(labels).map(([key, value]) => `${key}=${value}`);
