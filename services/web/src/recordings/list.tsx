// What was on the terminals of this environment? Each recording, to be looked at again or taken along.
import { useEffect, useState } from "preact/hooks";
import type { ComponentType } from "preact";
import { getText } from "../api";
import { useAsked } from "../asked";
import type { Environment } from "../environments/environment";
import { entranceText } from "../environments/sessions";
import { t } from "../i18n/words";
import { useListed } from "../listed";
import { Button } from "../parts/button";
import { More } from "../parts/more";
import { Nothing, Trouble, Unanswered, Waiting } from "../parts/notice";
import { save } from "../parts/save";
import { Ago } from "../parts/time";
import { say } from "../parts/toast";
import { asProblem } from "../problem";
import { bytes, duration } from "../shown";
import type { Replayed } from "./player";
import { pathOf } from "./recording";
import type { Recording } from "./recording";
import { Switch } from "./switch";

export function Recordings({ it }: { it: Environment }) {
  const path = `/api/environments/${it.env_id}/recordings`;
  const asked = useListed<Recording>(path, {}, (event) => event.kind === "session");
  const [chosen, choose] = useState<Recording | null>(null);
  const items = asked.value?.items ?? [];
  return (
    <>
      <Switch tenant={it.tenant_id} />
      {chosen && <Replay recording={chosen} onClose={() => choose(null)} key={chosen.recording_id} />}
      <Unanswered asked={asked} />
      {asked.value && items.length === 0 && (
        <Nothing icon="record" title={t("recordings.none")}>
          <p>{t("recordings.none.hint")}</p>
        </Nothing>
      )}
      {items.length > 0 && <Table items={items} chosen={chosen} onChoose={choose} />}
      <More asked={asked} path={path} />
    </>
  );
}

function Table({ items, chosen, onChoose }: { items: Recording[]; chosen: Recording | null; onChoose(recording: Recording): void }) {
  return (
    <table class="rows">
      <thead>
        <tr>
          <th scope="col">{t("recording.of")}</th>
          <th scope="col">{t("session.entrance")}</th>
          <th scope="col">{t("session.opened")}</th>
          <th scope="col">{t("session.lasted")}</th>
          <th scope="col">{t("recording.size")}</th>
          <th scope="col">
            <span class="off-screen">{t("actions")}</span>
          </th>
        </tr>
      </thead>
      <tbody>
        {items.map((each) => (
          <Row key={each.recording_id} recording={each} chosen={chosen?.recording_id === each.recording_id} onChoose={() => onChoose(each)} />
        ))}
      </tbody>
    </table>
  );
}

function Row({ recording: it, chosen, onChoose }: { recording: Recording; chosen: boolean; onChoose(): void }) {
  const take = async () => {
    try {
      save(new Blob([await getText(pathOf(it))], { type: "application/x-asciicast" }), `${it.recording_id}.cast`);
    } catch (error) {
      say(asProblem(error).title, "bad");
    }
  };
  return (
    <tr aria-current={chosen ? "true" : undefined}>
      <th scope="row">
        {it.user}
        <span class="row-id">{it.recording_id}</span>
      </th>
      <td data-label={t("session.entrance")}>{entranceText(it.entrance)}</td>
      <td data-label={t("session.opened")} class="nowrap">
        <Ago time={it.started_at} />
      </td>
      <td data-label={t("session.lasted")} class="nowrap">
        {it.duration_s === null ? t("recording.running") : duration(it.duration_s)}
      </td>
      <td data-label={t("recording.size")}>
        <span class="nowrap">{bytes(it.bytes)}</span>
        {!it.complete && it.ended_at !== null && <span class="row-reason failed">{t("recording.incomplete")}</span>}
      </td>
      <td class="row-actions">
        <span class="with-copy">
          <Button icon="play" onPress={onChoose}>
            {t("recording.replay")}
          </Button>
          <Button kind="quiet" icon="download" label={t("recording.take", { user: it.user })} onPress={() => void take()} />
        </span>
      </td>
    </tr>
  );
}

/** The player is large; it comes when it is wanted. */
function Replay({ recording, onClose }: { recording: Recording; onClose(): void }) {
  const asked = useAsked(async () => getText(pathOf(recording)), [recording.recording_id]);
  const [Player, setPlayer] = useState<ComponentType<Replayed>>();
  useEffect(() => {
    void import("./player").then((module) => setPlayer(() => module.Player));
  }, []);
  return (
    <section class="panel replay" aria-label={t("recording.replay_of", { user: recording.user })}>
      <header class="replay-head">
        <h3>{t("recording.replay_of", { user: recording.user })}</h3>
        <Button kind="quiet" icon="close" label={t("close")} onPress={onClose} />
      </header>
      {asked.problem && <Trouble problem={asked.problem} again={asked.again} />}
      {asked.value !== undefined && Player ? <Player text={asked.value} /> : !asked.problem && <Waiting />}
    </section>
  );
}
