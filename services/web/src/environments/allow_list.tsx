// Who may connect at all? Ranges of addresses; none means everybody.
import { useEffect, useRef, useState } from "preact/hooks";
import { put } from "../api";
import { useAct } from "../asked";
import { t } from "../i18n/words";
import { Button } from "../parts/button";
import { AreaField } from "../parts/field";
import { Trouble } from "../parts/notice";
import { say } from "../parts/toast";
import { mayWrite } from "../session";
import type { Environment } from "./environment";
import { stays } from "./environment";

export function AllowList({ it }: { it: Environment }) {
  const now = it.allow_list.join("\n");
  const [text, setText] = useState(now);
  const { busy, problem, act } = useAct();
  // what somebody else saved shows; what is being typed stays
  const shown = useRef(now);
  useEffect(() => {
    if (shown.current !== now) setText(now);
    shown.current = now;
  }, [now]);
  const save = () =>
    act(async () => {
      const ranges = text.split(/[\s,]+/).filter((part) => part !== "");
      const { body } = await put<{ ranges: string[] }>(`/api/environments/${it.env_id}/allow-list`, { ranges });
      setText(body.ranges.join("\n"));
      say(t("allow.saved"));
    });
  const may = mayWrite() && stays(it.status);
  return (
    <form
      class="form narrow-form"
      onSubmit={(event) => {
        event.preventDefault();
        save();
      }}
    >
      <AreaField label={t("allow.ranges")} hint={t("allow.hint")} rows={5} value={text} onValue={setText} placeholder={"10.0.0.0/8\n2001:db8::/32"} error={problem?.of("ranges")} />
      {text.trim() === "" && <p class="hint">{t("allow.everyone")}</p>}
      {problem && problem.errors.length === 0 && <Trouble problem={problem} />}
      {may && (
        <footer class="actions">
          <Button kind="primary" type="submit" busy={busy} disabled={text.trim() === now}>
            {t("save")}
          </Button>
        </footer>
      )}
    </form>
  );
}
