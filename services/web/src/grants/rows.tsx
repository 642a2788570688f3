// What is granted on these servers? A row a grant, which whoever keeps servers changes and takes back.
import { useState } from "preact/hooks";
import { useAct } from "../asked";
import { isKey, t } from "../i18n/words";
import { Button } from "../parts/button";
import { Confirm } from "../parts/dialog";
import { Trouble } from "../parts/notice";
import { say } from "../parts/toast";
import { instant, now } from "../shown";
import { GrantForm } from "./form";
import { change, moreOf, standingOf, toWhom } from "./grant";
import type { Grant, Place } from "./grant";
import { MoreOf } from "./more_of";

interface Shown {
  place: Place;
  grants: readonly Grant[];
  may: boolean;
  /** Of what is shown, for those who do not see where it stands. */
  name: string;
  onChanged(): void;
}

export function GrantRows({ place, grants, may, name, onChanged }: Shown) {
  const [changing, setChanging] = useState<Grant | null>(null);
  const [removing, setRemoving] = useState<Grant | null>(null);
  const done = () => {
    say(t("grant.saved"));
    onChanged();
  };
  return (
    <>
      <table class={`rows${may ? " two-actions" : ""}`} aria-label={name}>
        <thead>
          <tr>
            <th scope="col">{t("grant.who")}</th>
            <th scope="col">{t("grant.may")}</th>
            <th scope="col">{t("grant.from")}</th>
            <th scope="col">{t("grant.until")}</th>
            {may && (
              <th scope="col">
                <span class="off-screen">{t("actions")}</span>
              </th>
            )}
          </tr>
        </thead>
        <tbody>
          {grants.map((each, index) => (
            <Row key={index} it={each} may={may} onChange={() => setChanging(each)} onRemove={() => setRemoving(each)} />
          ))}
        </tbody>
      </table>
      {changing && <GrantForm it={changing} place={place} onDone={done} onClose={() => setChanging(null)} />}
      {removing && <Remove it={removing} place={place} onDone={done} onClose={() => setRemoving(null)} />}
    </>
  );
}

function Row({ it, may, onChange, onRemove }: { it: Grant; may: boolean; onChange(): void; onRemove(): void }) {
  const { kind, name } = toWhom(it);
  const roleKey = `role.${name}`;
  const whom = kind === "role" && isKey(roleKey) ? t(roleKey) : name;
  const standing = standingOf(it, now.value);
  return (
    <tr>
      <th scope="row">
        {whom}
        <span class="row-id">{t(`grant.kind.${kind}`)}</span>
      </th>
      <td data-label={t("grant.may")}>
        <div>
          {it.may.map((right) => t(`server.may.${right}`)).join(", ")}
          {moreOf(it).length > 0 && (
            <span class="row-reason">
              <MoreOf it={it} />
            </span>
          )}
        </div>
      </td>
      <td data-label={t("grant.from")} class="nowrap">
        {it.from === undefined ? <span class="muted">–</span> : instant(it.from)}
      </td>
      <td data-label={t("grant.until")}>
        <div>
          {it.until === undefined ? <span class="muted">{t("grant.for_ever")}</span> : instant(it.until)}
          {standing !== "counts" && <span class="row-reason failed">{t(`grant.${standing}`)}</span>}
        </div>
      </td>
      {may && (
        <td class="row-actions">
          <span class="with-copy">
            <Button kind="quiet" icon="edit" label={t("grant.change_of", { name: whom })} onPress={onChange} />
            <Button kind="quiet" icon="delete" label={t("grant.remove_of", { name: whom })} onPress={onRemove} />
          </span>
        </td>
      )}
    </tr>
  );
}

function Remove({ it, place, onDone, onClose }: { it: Grant; place: Place; onDone(): void; onClose(): void }) {
  const { busy, problem, act } = useAct();
  const { name } = toWhom(it);
  const remove = () =>
    act(async () => {
      await change(place, it, undefined);
      onDone();
      onClose();
    });
  return (
    <Confirm title={t("grant.remove_of", { name })} yes={t("grant.remove.yes")} danger busy={busy} onYes={remove} onClose={onClose}>
      <p>{t("grant.remove.ask")}</p>
      {problem && <Trouble problem={problem} />}
    </Confirm>
  );
}
