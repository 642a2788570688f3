// Which relays may dial out to us, and is each connected?
import { useState } from "preact/hooks";
import { del, post } from "../api";
import { useAct } from "../asked";
import { t } from "../i18n/words";
import { useListed } from "../listed";
import { Button, LinkButton } from "../parts/button";
import { Confirm } from "../parts/dialog";
import { More } from "../parts/more";
import { Nothing, Trouble, Unanswered } from "../parts/notice";
import { Ago } from "../parts/time";
import { say } from "../parts/toast";
import { keepsServers } from "../servers/server";
import { TONES, reasonText, servedBy, standingOf } from "./relay";
import type { Relay } from "./relay";
import { Rotate } from "./rotate";

export function Relays() {
  const asked = useListed<Relay>("/api/relays", {}, (event) => event.kind === "relay" || event.kind === "command");
  const [rotating, setRotating] = useState<Relay | null>(null);
  const [revoking, setRevoking] = useState<Relay | null>(null);
  const items = asked.value?.items ?? [];
  return (
    <main id="main">
      <header class="page-head">
        <h1>{t("relays")}</h1>
        <div class="page-tools">
          {keepsServers() && (
            <LinkButton kind="primary" icon="add" to="/relays/new">
              {t("relays.new")}
            </LinkButton>
          )}
        </div>
      </header>
      <p class="lead">{t("relays.lead")}</p>
      <Unanswered asked={asked} />
      {asked.value && items.length === 0 && (
        <Nothing icon="relay" title={t("relays.none")}>
          <p>{t("relays.none.hint")}</p>
        </Nothing>
      )}
      {items.length > 0 && <Table items={items} onRotate={setRotating} onRevoke={setRevoking} />}
      <More asked={asked} path="/api/relays" />
      {rotating && <Rotate it={rotating} onClose={() => setRotating(null)} />}
      {revoking && <Revoke it={revoking} onRevoked={asked.again} onClose={() => setRevoking(null)} />}
    </main>
  );
}

interface Acts {
  onRotate(relay: Relay): void;
  onRevoke(relay: Relay): void;
}

function Table({ items, ...acts }: { items: Relay[] } & Acts) {
  return (
    <table class="rows two-actions">
      <thead>
        <tr>
          <th scope="col">{t("name")}</th>
          <th scope="col">{t("status")}</th>
          <th scope="col">{t("relay.serves")}</th>
          <th scope="col">{t("session.from")}</th>
          <th scope="col">{t("relay.load")}</th>
          <th scope="col">{t("relay.changed")}</th>
          <th scope="col">
            <span class="off-screen">{t("actions")}</span>
          </th>
        </tr>
      </thead>
      <tbody>
        {items.map((each) => (
          <Row key={each.relay_id} it={each} {...acts} />
        ))}
      </tbody>
    </table>
  );
}

function Row({ it, onRotate, onRevoke }: { it: Relay } & Acts) {
  const standing = standingOf(it);
  const serves = servedBy(it);
  return (
    <tr>
      <th scope="row">
        {it.name}
        <code class="row-id">{it.relay_id}</code>
      </th>
      <td data-label={t("status")}>
        <span class={`badge ${TONES[standing]}`} data-standing={standing}>
          <span class="dot" aria-hidden="true" />
          {t(`relay.${standing}`)}
        </span>
        {standing === "gone" && it.reason && <span class="row-reason">{reasonText(it.reason)}</span>}
      </td>
      <td data-label={t("relay.serves")}>{serves.length === 0 ? <span class="muted">{t("relay.serves.named")}</span> : serves.join(" · ")}</td>
      <td data-label={t("session.from")}>
        {it.address === null && it.client === null ? (
          <span class="muted">–</span>
        ) : (
          <span>
            <code class="breaks">{it.address}</code>
            <span class="row-reason">{it.client}</span>
          </span>
        )}
      </td>
      <td data-label={t("relay.load")}>
        <Load it={it} />
      </td>
      <td data-label={t("relay.changed")} class="nowrap">
        <span>
          <Ago time={it.changed_at ?? it.created_at} />
          <span class="row-reason">{t(`relay.changed.${standing}`)}</span>
        </span>
      </td>
      <td class="row-actions">
        {keepsServers() && (
          <span class="with-copy">
            {it.pending && <Accept it={it} />}
            <Button kind="quiet" icon="key" label={t("relay.rotate", { name: it.name })} onPress={() => onRotate(it)} />
            <Button kind="quiet" icon="delete" label={t("relay.revoke", { name: it.name })} onPress={() => onRevoke(it)} />
          </span>
        )}
      </td>
    </tr>
  );
}

/** Nothing more is given to it when it is full. */
function Load({ it }: { it: Relay }) {
  const words = t("relay.load.of", { n: it.in_flight, most: it.in_flight_max });
  return (
    <span class={`load${it.in_flight >= it.in_flight_max ? " full" : ""}`}>
      {words}
      <meter aria-label={t("relay.load")} min={0} max={it.in_flight_max} value={it.in_flight} />
    </span>
  );
}

/** The list hears of it. */
function Accept({ it }: { it: Relay }) {
  const { busy, problem, act } = useAct();
  const accept = () =>
    act(async () => {
      await post(`/api/relays/${it.relay_id}/accept`);
      say(t("relay.accepted", { name: it.name }));
    });
  return (
    <>
      <Button kind="quiet" icon="check" label={t("relay.accept", { name: it.name })} busy={busy} onPress={accept} />
      {problem && <Trouble problem={problem} />}
    </>
  );
}

function Revoke({ it, onRevoked, onClose }: { it: Relay; onRevoked(): void; onClose(): void }) {
  const { busy, problem, act } = useAct();
  const revoke = () =>
    act(async () => {
      await del(`/api/relays/${it.relay_id}`);
      say(t("relay.revoked", { name: it.name }));
      onClose();
      onRevoked();
    });
  return (
    <Confirm title={t("relay.revoke", { name: it.name })} yes={t("relay.revoke.yes")} danger busy={busy} onYes={revoke} onClose={onClose}>
      <p>{t("relay.revoke.ask")}</p>
      {problem && <Trouble problem={problem} />}
    </Confirm>
  );
}
