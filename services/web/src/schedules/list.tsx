// Which commands are run when, and how did they go last?
import { useState } from "preact/hooks";
import { del, patch } from "../api";
import { useAct } from "../asked";
import { lineOf } from "../batches/batch";
import { t } from "../i18n/words";
import { useListed } from "../listed";
import { Button, LinkButton } from "../parts/button";
import { Confirm } from "../parts/dialog";
import { More } from "../parts/more";
import { Nothing, Trouble, Unanswered } from "../parts/notice";
import { Ago } from "../parts/time";
import { say } from "../parts/toast";
import { mayWrite } from "../session";
import { instant } from "../shown";
import { TONES } from "./schedule";
import type { Due, Schedule } from "./schedule";

const CONCERN = new Set(["schedule", "batch", "command"]);

export function Schedules() {
  const asked = useListed<Schedule>("/api/schedules", {}, (event) => CONCERN.has(event.kind));
  const [removing, setRemoving] = useState<Schedule | null>(null);
  const items = asked.value?.items ?? [];
  return (
    <main id="main">
      <nav class="crumbs" aria-label={t("crumbs")}>
        <a href="/batches">{t("batches")}</a>
      </nav>
      <header class="page-head">
        <h1>{t("schedules")}</h1>
        <div class="page-tools">
          {mayWrite() && (
            <LinkButton kind="primary" icon="server" to="/servers">
              {t("batches.choose")}
            </LinkButton>
          )}
        </div>
      </header>
      <p class="lead">{t("schedules.lead")}</p>
      <Unanswered asked={asked} />
      {asked.value && items.length === 0 && (
        <Nothing icon="clock" title={t("schedules.none")}>
          <p>{t("schedules.none.hint")}</p>
        </Nothing>
      )}
      {items.length > 0 && <Table items={items} onRemove={setRemoving} />}
      <More asked={asked} path="/api/schedules" />
      {removing && <Remove it={removing} onRemoved={asked.again} onClose={() => setRemoving(null)} />}
    </main>
  );
}

function Table({ items, onRemove }: { items: Schedule[]; onRemove(it: Schedule): void }) {
  return (
    <table class="rows two-actions">
      <thead>
        <tr>
          <th scope="col">{t("name")}</th>
          <th scope="col">{t("batch.command")}</th>
          <th scope="col">{t("schedule.when")}</th>
          <th scope="col">{t("schedule.next")}</th>
          <th scope="col">{t("schedule.last")}</th>
          <th scope="col">{t("batch.by")}</th>
          <th scope="col">
            <span class="off-screen">{t("actions")}</span>
          </th>
        </tr>
      </thead>
      <tbody>
        {items.map((each) => (
          <Row key={each.schedule_id} it={each} onRemove={onRemove} />
        ))}
      </tbody>
    </table>
  );
}

function Row({ it, onRemove }: { it: Schedule; onRemove(it: Schedule): void }) {
  return (
    <tr>
      <th scope="row">
        {it.name}
        <code class="row-id">{it.schedule_id}</code>
      </th>
      <td data-label={t("batch.command")}>
        <code class="breaks">{lineOf(it.run)}</code>
      </td>
      <td data-label={t("schedule.when")}>
        {it.at === null ? (
          <span>
            <code>{it.cron}</code>
            <span class="row-reason">{it.time_zone}</span>
          </span>
        ) : (
          instant(it.at)
        )}
      </td>
      <td data-label={t("schedule.next")} class="nowrap">
        {it.status === "active" && it.next_due !== null ? <Ago time={it.next_due} /> : <span class="muted">{t(`schedule.status.${it.status}`)}</span>}
      </td>
      <td data-label={t("schedule.last")}>{it.last === null ? <span class="muted">{t("not_yet")}</span> : <Last it={it.last} />}</td>
      <td data-label={t("batch.by")}>{it.by}</td>
      <td class="row-actions">
        {mayWrite() && (
          <span class="with-copy">
            {it.status !== "ended" && <Pause it={it} />}
            <Button kind="quiet" icon="delete" label={t("schedule.remove", { name: it.name })} onPress={() => onRemove(it)} />
          </span>
        )}
      </td>
    </tr>
  );
}

function Last({ it }: { it: Due }) {
  const badge = (
    <span class={`badge ${TONES[it.outcome]}`} data-outcome={it.outcome}>
      <span class="dot" aria-hidden="true" />
      {t(`schedule.outcome.${it.outcome}`)}
    </span>
  );
  return (
    <span>
      {it.batch_id === null ? badge : <a href={`/batches/${it.batch_id}`}>{badge}</a>}
      <span class="row-reason">{it.why === null ? <Ago time={it.due_at} /> : t(`schedule.why.${it.why}`, { n: it.count })}</span>
    </span>
  );
}

/** The list hears of it. */
function Pause({ it }: { it: Schedule }) {
  const { busy, problem, act } = useAct();
  const isPaused = it.status === "paused";
  const turn = () =>
    act(async () => {
      await patch(`/api/schedules/${it.schedule_id}`, { paused: !isPaused });
    });
  return (
    <>
      <Button kind="quiet" icon={isPaused ? "play" : "pause"} label={t(isPaused ? "schedule.resume" : "schedule.pause", { name: it.name })} busy={busy} onPress={turn} />
      {problem && <Trouble problem={problem} />}
    </>
  );
}

function Remove({ it, onRemoved, onClose }: { it: Schedule; onRemoved(): void; onClose(): void }) {
  const { busy, problem, act } = useAct();
  const remove = () =>
    act(async () => {
      await del(`/api/schedules/${it.schedule_id}`);
      say(t("schedule.removed", { name: it.name }));
      onClose();
      onRemoved();
    });
  return (
    <Confirm title={t("schedule.remove", { name: it.name })} yes={t("remove")} danger busy={busy} onYes={remove} onClose={onClose}>
      <p>{t("schedule.remove.ask")}</p>
      {problem && <Trouble problem={problem} />}
    </Confirm>
  );
}
