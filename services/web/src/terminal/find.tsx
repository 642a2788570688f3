// Where in the scrollback is it?
import { useEffect, useRef, useState } from "preact/hooks";
import { t } from "../i18n/words";
import { Button } from "../parts/button";
import type { Drawn } from "./screen";

export function Find({ drawn, onClose }: { drawn: Drawn; onClose(): void }) {
  const [text, setText] = useState("");
  const [found, setFound] = useState(true);
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => {
    field.current?.focus();
    return () => {
      drawn.search.clearDecorations();
      drawn.terminal.focus();
    };
  }, [drawn]);
  const look = (forward: boolean) => {
    if (text !== "") setFound(forward ? drawn.search.findNext(text) : drawn.search.findPrevious(text));
  };
  return (
    <div class="find" role="search">
      <input
        ref={field}
        type="text"
        value={text}
        aria-label={t("terminal.find")}
        aria-invalid={!found}
        onInput={(event) => setText(event.currentTarget.value)}
        onKeyDown={(key) => {
          if (key.key === "Escape") onClose();
          if (key.key === "Enter") look(!key.shiftKey);
        }}
      />
      <Button onPress={() => look(false)}>{t("terminal.find.previous")}</Button>
      <Button onPress={() => look(true)}>{t("terminal.find.next")}</Button>
      <span role="status" class="error">
        {found ? "" : t("terminal.find.none")}
      </span>
      <Button kind="quiet" icon="close" label={t("close")} onPress={onClose} />
    </div>
  );
}
