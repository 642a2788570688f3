// What does a list show? The beginning of what the API has, as it is now; `More` shows what comes after it.
import { useRef } from "preact/hooks";
import { fresh, get } from "./api";
import type { Page, Parts } from "./api";
import type { Asked } from "./asked";
import { useFollowed } from "./happenings";
import type { Event } from "./sse";

export const PAGE = 100;
/** The API answers with no more at once. */
const PAGE_MAX = 500;

/** What was loaded on demand stays when the list is asked again, up to one answer of the API. */
export function useListed<T>(path: string, parts: Parts, concerns: (event: Event) => boolean): Asked<Page<T>> {
  const shown = useRef(0);
  const ask = async (signal: AbortSignal) => {
    const limit = Math.min(PAGE_MAX, Math.max(PAGE, shown.current));
    return (await get<Page<T>>(fresh(path, { ...parts, limit }), signal)).body;
  };
  const asked = useFollowed(ask, concerns, [path]);
  shown.current = asked.value?.items.length ?? 0;
  return asked;
}
