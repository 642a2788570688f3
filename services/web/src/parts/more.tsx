// What comes after the part of a list that is shown? A button, as long as there is more.
import { get, query } from "../api";
import type { Page, Parts } from "../api";
import type { Asked } from "../asked";
import { useAct } from "../asked";
import { t } from "../i18n/words";
import { PAGE } from "../listed";
import { Button } from "./button";

export function More<T>({ asked, path, parts = {} }: { asked: Asked<Page<T>>; path: string; parts?: Parts }) {
  const { busy, problem, act } = useAct();
  const cursor = asked.value?.next_cursor;
  if (!cursor) return null;
  const more = () =>
    act(async () => {
      const { body } = await get<Page<T>>(query(path, { ...parts, limit: PAGE, cursor }));
      asked.set((page) => ({ ...body, items: [...page.items, ...body.items] }));
    });
  return (
    <p class="more">
      <Button busy={busy} onPress={more}>
        {t("more")}
      </Button>
      {problem && (
        <span class="error" role="alert">
          {problem.title}
        </span>
      )}
    </p>
  );
}
