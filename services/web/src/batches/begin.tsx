// What is to be run, and how? A form that begins a batch on the servers that were chosen.
import { useState } from "preact/hooks";
import { post } from "../api";
import { useAct, useOnce } from "../asked";
import { t } from "../i18n/words";
import { Button, LinkButton } from "../parts/button";
import { AreaField, CheckField, TextField } from "../parts/field";
import { Nothing, Trouble } from "../parts/notice";
import { go } from "../router";
import { WhenFields, atOnce, isWhole, timesOf } from "../schedules/when";
import { NAMED_MAX, broughtDraft } from "./draft";
import type { Draft } from "./draft";

const TIMEOUT_MS = 60_000;
const CONCURRENCY = 100;

export function NewBatch() {
  const [draft] = useState(broughtDraft);
  return (
    <main id="main" class="narrow">
      <header class="page-head">
        <h1>{t("batches.new")}</h1>
      </header>
      {draft.servers.length === 0 ? (
        <Nothing icon="server" title={t("batch.nowhere")}>
          <LinkButton kind="primary" to="/servers">
            {t("batches.choose")}
          </LinkButton>
        </Nothing>
      ) : (
        <Form draft={draft} />
      )}
    </main>
  );
}

function Form({ draft }: { draft: Draft }) {
  const [servers, setServers] = useState(draft.servers);
  const [command, setCommand] = useState(draft.command ?? "");
  const [timeout_s, setTimeout_s] = useState(String((draft.timeout_ms ?? TIMEOUT_MS) / 1000));
  const [concurrency, setConcurrency] = useState(String(draft.concurrency ?? CONCURRENCY));
  const [stopAfter, setStopAfter] = useState(draft.stop_after_failures?.toString() ?? "");
  const [idempotent, setIdempotent] = useState(draft.idempotent ?? false);
  const [timing, setTiming] = useState(atOnce);
  const { busy, problem, act } = useAct();
  const once = useOnce();
  const run = () =>
    act(async () => {
      const body = {
        command,
        servers: servers.map((each) => each.server_id),
        timeout_ms: Math.round(Number(timeout_s) * 1000),
        idempotent,
        concurrency: Number(concurrency),
        ...(stopAfter === "" ? {} : { stop_after_failures: Number(stopAfter) }),
      };
      if (timing.kind !== "now") {
        await once((key) => post("/api/schedules", { run: body, ...timesOf(timing) }, key));
        return go("/schedules", true);
      }
      const begun = await once((key) => post<{ batch_id: string }>("/api/commands", body, key));
      go(`/batches/${begun.body.batch_id}`, true);
    });
  const wrong = (field: string) => problem?.of(field) ?? problem?.of(`run.${field}`);
  return (
    <form
      class="panel form"
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        run();
      }}
    >
      <OnServers servers={servers} onLeftOut={(id) => setServers(servers.filter((each) => each.server_id !== id))} />
      <AreaField label={t("batch.command")} rows={4} value={command} onValue={setCommand} placeholder="uptime" hint={t("batch.command.hint")} error={wrong("command")} />
      <div class="field-row">
        <TextField label={t("batch.timeout")} type="number" inputMode="decimal" min="0.1" step="any" value={timeout_s} onValue={setTimeout_s} hint={t("batch.timeout.hint")} error={wrong("timeout_ms")} />
        <TextField label={t("batch.concurrency")} type="number" inputMode="numeric" min="1" step="1" value={concurrency} onValue={setConcurrency} error={wrong("concurrency")} />
        <TextField label={t("batch.stop_after")} type="number" inputMode="numeric" min="1" step="1" value={stopAfter} onValue={setStopAfter} hint={t("batch.stop_after.hint")} error={wrong("stop_after_failures")} />
      </div>
      <CheckField label={t("batch.idempotent")} hint={t("batch.idempotent.hint")} checked={idempotent} onChecked={setIdempotent} />
      <WhenFields timing={timing} onTiming={setTiming} wrong={wrong} />
      {problem && <Trouble problem={problem} />}
      <footer class="actions">
        <LinkButton to="/servers">{t("cancel")}</LinkButton>
        <Button kind="primary" type="submit" icon={timing.kind === "now" ? "play" : "clock"} busy={busy} disabled={command.trim() === "" || servers.length === 0 || !isWhole(timing)}>
          {t(timing.kind === "now" ? "batch.run" : "schedule.set")}
        </Button>
      </footer>
    </form>
  );
}

function OnServers({ servers, onLeftOut }: { servers: Draft["servers"]; onLeftOut(id: string): void }) {
  return (
    <fieldset>
      <legend>{t("batch.on", { n: servers.length })}</legend>
      <ul class="chosen">
        {servers.slice(0, NAMED_MAX).map(({ server_id, name }) => (
          <li key={server_id}>
            {name}
            <Button kind="quiet" icon="close" label={t("batch.leave_out", { name })} onPress={() => onLeftOut(server_id)} />
          </li>
        ))}
      </ul>
      {servers.length > NAMED_MAX && <p class="hint">{t("batch.on.more", { n: servers.length - NAMED_MAX })}</p>}
    </fieldset>
  );
}
