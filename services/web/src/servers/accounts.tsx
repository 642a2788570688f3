// Which accounts on a server were pushed from here, with which keys, and how did the last change of each end?
import { useState } from "preact/hooks";
import { fresh, get } from "../api";
import type { Page } from "../api";
import { useAct } from "../asked";
import type { Tone } from "../environments/environment";
import { useFollowed } from "../happenings";
import { t } from "../i18n/words";
import { Button } from "../parts/button";
import { Icon } from "../parts/icon";
import { Nothing, Trouble, Unanswered } from "../parts/notice";
import { classText } from "../problem";
import { keyText, verify } from "./account";
import type { Account, Change } from "./account";
import { Push, Remove, Rotate } from "./account_forms";
import { Findings } from "./findings";
import { concerns, keepsServers } from "./server";
import type { Server } from "./server";

/** `changed` is kept by whoever shows this among other things. */
export function Accounts({ it, changed, onChanged }: { it: Server; changed: Change | undefined; onChanged(changed: Change): void }) {
  const asked = useFollowed(
    async (signal) => (await get<Page<Account>>(fresh(`/api/servers/${it.server_id}/accounts`), signal)).body.items,
    concerns(it.server_id),
    [it.server_id],
  );
  const [pushing, setPushing] = useState(false);
  const [rotating, setRotating] = useState<Account | null>(null);
  const [removing, setRemoving] = useState<Account | null>(null);
  const verifying = useAct();
  const done = (change: Change) => {
    onChanged(change);
    asked.again();
  };
  const items = asked.value ?? [];
  return (
    <>
      <div class="card-head">
        <p class="muted">{t("accounts.lead")}</p>
        {keepsServers() && (
          <Button icon="add" onPress={() => setPushing(true)}>
            {t("account.push")}
          </Button>
        )}
      </div>
      {verifying.problem && <Trouble problem={verifying.problem} />}
      {changed && <Ended it={changed} />}
      <Unanswered asked={asked} />
      {asked.value && items.length === 0 && <Nothing icon="person" title={t("accounts.none")} />}
      {items.length > 0 && (
        <Table
          items={items}
          isBusy={verifying.busy}
          onVerify={(account) => verifying.act(async () => done(await verify(it.server_id, account.account)))}
          onRotate={setRotating}
          onRemove={setRemoving}
        />
      )}
      {pushing && <Push server={it.server_id} onDone={done} onClose={() => setPushing(false)} />}
      {rotating && <Rotate server={it.server_id} it={rotating} onDone={done} onClose={() => setRotating(null)} />}
      {removing && <Remove server={it.server_id} it={removing} onDone={done} onClose={() => setRemoving(null)} />}
    </>
  );
}

/** How the change ended that was just asked for. */
function Ended({ it }: { it: Change }) {
  const said = t(`account.ended.${it.outcome}`, { what: t(`account.action.${it.action}`), name: it.account });
  const findings = it.findings ?? [];
  return (
    <section class="stacked" aria-label={said} data-outcome={it.outcome}>
      {it.outcome === "done" ? (
        <div class="notice well" role="status">
          <p class="trouble-title">{said}</p>
          {it.made && <p class="trouble-detail">{t("account.made")}</p>}
        </div>
      ) : (
        <div class="trouble" role="alert" data-class={it.class}>
          <Icon name="alert" />
          <div>
            <p class="trouble-title">{said}</p>
            {it.class && <p class="trouble-detail">{classText(it.class)}</p>}
            {it.reason && <p class="trouble-detail">{it.reason}</p>}
            {it.suggestion && (
              <p class="trouble-detail">
                {t("terminal.suggestion")} {it.suggestion}
              </p>
            )}
          </div>
        </div>
      )}
      {findings.length > 0 && <Findings items={findings} />}
    </section>
  );
}

interface Acts {
  isBusy: boolean;
  onVerify(account: Account): void;
  onRotate(account: Account): void;
  onRemove(account: Account): void;
}

function Table({ items, ...acts }: { items: Account[] } & Acts) {
  return (
    <table class="rows three-actions" aria-label={t("accounts")}>
      <thead>
        <tr>
          <th scope="col">{t("account")}</th>
          <th scope="col">{t("status")}</th>
          <th scope="col">{t("account.keys")}</th>
          <th scope="col">{t("account.last")}</th>
          <th scope="col">
            <span class="off-screen">{t("actions")}</span>
          </th>
        </tr>
      </thead>
      <tbody>
        {items.map((each) => (
          <Row key={each.account} it={each} {...acts} />
        ))}
      </tbody>
    </table>
  );
}

function standingOf(it: Account): ["pending" | "there" | "gone", Tone] {
  if (it.pending) return ["pending", "busy"];
  return it.there ? ["there", "good"] : ["gone", "still"];
}

function Row({ it, isBusy, onVerify, onRotate, onRemove }: { it: Account } & Acts) {
  const [standing, tone] = standingOf(it);
  const name = it.account;
  return (
    <tr>
      <th scope="row">
        {name}
        {it.ours && <span class="row-id">{t("account.ours")}</span>}
      </th>
      <td data-label={t("status")}>
        <span class={`badge ${tone}`} data-standing={standing}>
          <span class="dot" aria-hidden="true" />
          {it.pending ? t(`account.action.${it.pending}`) : t(`account.${it.there ? "there" : "gone"}`)}
        </span>
      </td>
      <td data-label={t("account.keys")}>
        {it.public_keys.length === 0 ? (
          <span class="muted">–</span>
        ) : (
          <ul>
            {it.public_keys.map((line) => (
              <li key={line}>
                <code title={line}>{keyText(line)}</code>
              </li>
            ))}
          </ul>
        )}
      </td>
      <td data-label={t("account.last")}>{it.last ? <Last it={it.last} /> : <span class="muted">–</span>}</td>
      <td class="row-actions">
        {keepsServers() && it.there && !it.pending && (
          <span class="with-copy">
            <Button kind="quiet" icon="check" label={t("account.verify", { name })} busy={isBusy} onPress={() => onVerify(it)} />
            <Button kind="quiet" icon="key" label={t("account.rotate", { name })} onPress={() => onRotate(it)} />
            <Button kind="quiet" icon="delete" label={t("account.remove", { name })} onPress={() => onRemove(it)} />
          </span>
        )}
      </td>
    </tr>
  );
}

function Last({ it }: { it: Change }) {
  return (
    <div>
      {t(`account.action.${it.action}`)}: {t(`account.outcome.${it.outcome}`)}
      {it.class && <span class="row-reason failed">{classText(it.class)}</span>}
      {it.reason && <span class="row-reason">{it.reason}</span>}
    </div>
  );
}
