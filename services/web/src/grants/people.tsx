// Which groups of people are there, to whom something can be granted at once?
import { useState } from "preact/hooks";
import { fresh, get, put } from "../api";
import type { Page } from "../api";
import { useAct } from "../asked";
import { t } from "../i18n/words";
import { wordsOf } from "../labels";
import { useListed } from "../listed";
import { Button } from "../parts/button";
import { Confirm, Dialog } from "../parts/dialog";
import { AreaField, TextField } from "../parts/field";
import { More } from "../parts/more";
import { Nothing, Trouble, Unanswered } from "../parts/notice";
import { Ago } from "../parts/time";
import { say } from "../parts/toast";
import { keepsServers } from "../servers/server";
import { me } from "../session";
import { mayGrant } from "./grant";
import type { PeopleGroup } from "./grant";

/** Members that a row names. */
const NAMED_MAX = 20;
const LISTED_MAX = 500;

/** One of this name would lose its members to the new one. */
async function isThere(name: string): Promise<boolean> {
  const { body } = await get<Page<PeopleGroup>>(fresh("/api/people-groups", { limit: LISTED_MAX }));
  return body.items.some((each) => each.name === name && each.tenant_id === me.value?.tenant_id);
}

const setMembers = (name: string, members: readonly string[]) => put(`/api/people-groups/${encodeURIComponent(name)}`, { members });

export function People() {
  const asked = useListed<PeopleGroup>("/api/people-groups", {}, (event) => event.kind === "access");
  const [adding, setAdding] = useState(false);
  const [changing, setChanging] = useState<PeopleGroup | null>(null);
  const [ending, setEnding] = useState<PeopleGroup | null>(null);
  const items = asked.value?.items ?? [];
  return (
    <>
      {keepsServers() && (
        <div class="actions">
          <Button kind="primary" icon="add" onPress={() => setAdding(true)}>
            {t("people.add")}
          </Button>
        </div>
      )}
      <Unanswered asked={asked} />
      {asked.value && items.length === 0 && (
        <Nothing icon="person" title={t("people.none")}>
          <p>{t("people.none.hint")}</p>
        </Nothing>
      )}
      {items.length > 0 && <Table items={items} onChange={setChanging} onEnd={setEnding} />}
      <More asked={asked} path="/api/people-groups" />
      {adding && <GroupForm onDone={asked.again} onClose={() => setAdding(false)} />}
      {changing && <GroupForm it={changing} onDone={asked.again} onClose={() => setChanging(null)} />}
      {ending && <End it={ending} onDone={asked.again} onClose={() => setEnding(null)} />}
    </>
  );
}

function Table({ items, onChange, onEnd }: { items: PeopleGroup[]; onChange(group: PeopleGroup): void; onEnd(group: PeopleGroup): void }) {
  return (
    <table class="rows two-actions" aria-label={t("people")}>
      <thead>
        <tr>
          <th scope="col">{t("name")}</th>
          <th scope="col">{t("people.members")}</th>
          <th scope="col">{t("relay.changed")}</th>
          <th scope="col">
            <span class="off-screen">{t("actions")}</span>
          </th>
        </tr>
      </thead>
      <tbody>
        {items.map((each) => (
          <tr key={`${each.tenant_id} ${each.name}`}>
            <th scope="row">
              {each.name}
              {each.tenant_id !== me.value?.tenant_id && <code class="row-id">{each.tenant_id}</code>}
            </th>
            <td data-label={t("people.members")}>
              <span class="breaks">
                {each.members.slice(0, NAMED_MAX).join(", ")}
                {each.members.length > NAMED_MAX && ` ${t("people.more", { n: each.members.length - NAMED_MAX })}`}
              </span>
            </td>
            <td data-label={t("relay.changed")} class="nowrap">
              <Ago time={each.updated_at} />
            </td>
            <td class="row-actions">
              {mayGrant(each.tenant_id) && (
                <span class="with-copy">
                  <Button kind="quiet" icon="edit" label={t("people.change", { name: each.name })} onPress={() => onChange(each)} />
                  <Button kind="quiet" icon="delete" label={t("people.end", { name: each.name })} onPress={() => onEnd(each)} />
                </span>
              )}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function GroupForm({ it, onDone, onClose }: { it?: PeopleGroup; onDone(): void; onClose(): void }) {
  const [name, setName] = useState(it?.name ?? "");
  const [members, setText] = useState(it?.members.join("\n") ?? "");
  const [isTaken, setTaken] = useState(false);
  const { busy, problem, act } = useAct();
  const save = () =>
    act(async () => {
      const taken = !it && (await isThere(name.trim()));
      setTaken(taken);
      if (taken) return;
      await setMembers(name.trim(), wordsOf(members));
      say(t("people.saved"));
      onDone();
      onClose();
    });
  return (
    <Dialog title={it ? t("people.change", { name: it.name }) : t("people.add")} onClose={onClose}>
      <form
        class="form"
        noValidate
        onSubmit={(event) => {
          event.preventDefault();
          save();
        }}
      >
        {!it && <TextField label={t("name")} value={name} onValue={setName} autocomplete="off" spellcheck={false} placeholder="ops" error={isTaken ? t("people.name.taken") : problem?.code === "not_found" ? t("people.name.wrong") : undefined} />}
        <AreaField label={t("people.members")} rows={5} value={members} onValue={setText} placeholder={"alice\nbob"} hint={t("people.members.hint")} error={problem?.of("members")} />
        {problem && problem.code !== "not_found" && <Trouble problem={problem} />}
        <footer class="actions">
          <Button onPress={onClose}>{t("cancel")}</Button>
          <Button kind="primary" type="submit" busy={busy} disabled={name.trim() === "" || wordsOf(members).length === 0}>
            {t("save")}
          </Button>
        </footer>
      </form>
    </Dialog>
  );
}

function End({ it, onDone, onClose }: { it: PeopleGroup; onDone(): void; onClose(): void }) {
  const { busy, problem, act } = useAct();
  const end = () =>
    act(async () => {
      await setMembers(it.name, []);
      say(t("people.ended", { name: it.name }));
      onDone();
      onClose();
    });
  return (
    <Confirm title={t("people.end", { name: it.name })} yes={t("people.end.yes")} danger busy={busy} onYes={end} onClose={onClose}>
      <p>{t("people.end.ask")}</p>
      {problem && <Trouble problem={problem} />}
    </Confirm>
  );
}
