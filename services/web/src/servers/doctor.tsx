// What keeps somebody from using a server? Step by step, each with what was seen and a remedy.
import { useState } from "preact/hooks";
import { postWithin } from "../api";
import { useAct } from "../asked";
import { t } from "../i18n/words";
import { Button } from "../parts/button";
import { TextField } from "../parts/field";
import { Trouble } from "../parts/notice";
import { Findings } from "./findings";
import type { Finding } from "./findings";
import { LOOKS_WITHIN_MS } from "./server";
import type { Server } from "./server";

export interface Diagnosis {
  /** Nothing failed; there may be warnings. */
  ok: boolean;
  findings: Finding[];
}

/** `found` is kept by whoever shows this among other things. */
export function Doctor({ it, found, onFound }: { it: Server; found: Diagnosis | undefined; onFound(found: Diagnosis): void }) {
  const [account, setAccount] = useState("");
  const { busy, problem, act } = useAct();
  const examine = () =>
    act(async () => {
      const body = account.trim() === "" ? {} : { account: account.trim() };
      onFound((await postWithin<Diagnosis>(LOOKS_WITHIN_MS, `/api/servers/${it.server_id}/doctor`, body)).body);
    });
  return (
    <>
      <form
        class="form narrow-form"
        noValidate
        onSubmit={(event) => {
          event.preventDefault();
          examine();
        }}
      >
        <p class="muted">{t("doctor.lead")}</p>
        <TextField label={t("doctor.account")} value={account} onValue={setAccount} autocomplete="off" spellcheck={false} placeholder={it.username} hint={t("doctor.account.hint")} error={problem?.of("account")} />
        <footer class="actions">
          <Button kind="primary" type="submit" icon="search" busy={busy}>
            {t("doctor.examine")}
          </Button>
        </footer>
      </form>
      {problem && <Trouble problem={problem} />}
      {found && (
        <>
          <p class={found.ok ? "found-well" : "found-wrong"} role="status">
            {t(found.ok ? (found.findings.some(({ status }) => status === "warning") ? "doctor.found.warnings" : "doctor.found.ok") : "doctor.found.wrong")}
          </p>
          <Findings items={found.findings} />
        </>
      )}
    </>
  );
}
