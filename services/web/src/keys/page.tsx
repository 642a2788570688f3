// Which keys open my environments?
import { useState } from "preact/hooks";
import { del, fresh, get, post } from "../api";
import type { Page } from "../api";
import { useAct, useAsked } from "../asked";
import { t } from "../i18n/words";
import { Button } from "../parts/button";
import { Confirm } from "../parts/dialog";
import { AreaField, TextField } from "../parts/field";
import { Nothing, Trouble, Unanswered } from "../parts/notice";
import { Ago } from "../parts/time";
import { say } from "../parts/toast";
import { mayWrite, me } from "../session";

interface Key {
  key_id: string;
  owner: string;
  name: string;
  public_key: string;
  fingerprint: string;
  created_at: string;
}

const SHOWN_MAX = 500;

export function Keys() {
  const asked = useAsked(async (signal) => (await get<Page<Key>>(fresh("/api/ssh-keys", { limit: SHOWN_MAX }), signal)).body.items, []);
  const [removing, setRemoving] = useState<Key | null>(null);
  return (
    <main id="main">
      <header class="page-head">
        <h1>{t("keys")}</h1>
      </header>
      <p class="lead">{t("keys.lead")}</p>
      {mayWrite() && <Add onAdded={asked.again} />}
      <Unanswered asked={asked} />
      {asked.value?.length === 0 && <Nothing icon="key" title={t("keys.none")} />}
      {asked.value && asked.value.length > 0 && (
        <table class="rows">
          <thead>
            <tr>
              <th scope="col">{t("name")}</th>
              <th scope="col">{t("key.fingerprint")}</th>
              {me.value?.role !== "developer" && <th scope="col">{t("owner")}</th>}
              <th scope="col">{t("key.added")}</th>
              <th scope="col">
                <span class="off-screen">{t("actions")}</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {asked.value.map((key) => (
              <tr key={key.key_id}>
                <th scope="row">
                  {key.name}
                  <span class="row-id">{key.public_key.split(" ")[0]}</span>
                </th>
                <td data-label={t("key.fingerprint")}>
                  <code class="breaks">{key.fingerprint}</code>
                </td>
                {me.value?.role !== "developer" && <td data-label={t("owner")}>{key.owner}</td>}
                <td data-label={t("key.added")} class="nowrap">
                  <Ago time={key.created_at} />
                </td>
                <td class="row-actions">{mayWrite() && <Button kind="quiet" icon="delete" label={t("key.remove", { name: key.name })} onPress={() => setRemoving(key)} />}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      {removing && <Remove it={removing} onRemoved={asked.again} onClose={() => setRemoving(null)} />}
    </main>
  );
}

function Add({ onAdded }: { onAdded(): void }) {
  const [name, setName] = useState("");
  const [line, setLine] = useState("");
  const { busy, problem, act } = useAct();
  // the comment of a key is usually what its owner calls it
  const onLine = (text: string) => {
    setLine(text);
    const comment = text.trim().split(/\s+/).slice(2).join(" ");
    if (name === "" && comment !== "") setName(comment.slice(0, 63));
  };
  const add = () =>
    act(async () => {
      await post("/api/ssh-keys", { name: name.trim(), public_key: line.trim() });
      say(t("key.added.done", { name }));
      setName("");
      setLine("");
      onAdded();
    });
  return (
    <form
      class="panel form"
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        add();
      }}
    >
      <h2>{t("keys.add")}</h2>
      <AreaField label={t("key.line")} hint={t("key.line.hint")} value={line} onValue={onLine} placeholder="ssh-ed25519 AAAA… me@laptop" error={problem?.of("public_key")} />
      <div class="field-row">
        <TextField label={t("name")} value={name} onValue={setName} autocomplete="off" maxLength={63} error={problem?.of("name")} />
      </div>
      {problem && problem.errors.length === 0 && <Trouble problem={problem} />}
      <footer class="actions">
        <Button kind="primary" type="submit" icon="add" busy={busy} disabled={line.trim() === "" || name.trim() === ""}>
          {t("keys.add")}
        </Button>
      </footer>
    </form>
  );
}

function Remove({ it, onRemoved, onClose }: { it: Key; onRemoved(): void; onClose(): void }) {
  const { busy, problem, act } = useAct();
  const remove = () =>
    act(async () => {
      await del(`/api/ssh-keys/${it.key_id}`);
      onClose();
      onRemoved();
    });
  return (
    <Confirm title={t("key.remove", { name: it.name })} yes={t("remove")} danger busy={busy} onYes={remove} onClose={onClose}>
      <p>{t("key.remove.ask")}</p>
      {problem && <Trouble problem={problem} />}
    </Confirm>
  );
}
