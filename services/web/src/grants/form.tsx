// Who may what, from when until when? One grant, on the servers that are named or on those that are chosen here.
import { useState } from "preact/hooks";
import { get, query } from "../api";
import type { Page } from "../api";
import { useAct, useAsked } from "../asked";
import { t } from "../i18n/words";
import { Button } from "../parts/button";
import { Dialog } from "../parts/dialog";
import { CheckField, SelectField, TextField } from "../parts/field";
import { Trouble } from "../parts/notice";
import type { Problem } from "../problem";
import type { Right } from "../servers/server";
import { KINDS, PLACES, RIGHTS, change, instantOf, localOf, moreOf, placeText, toWhom } from "./grant";
import type { Grant, Kind, PeopleGroup, Place, PlaceKind } from "./grant";
import { MoreOf } from "./more_of";

/** Names that are offered. */
const OFFERED_MAX = 500;
/** Everybody else's rights follow from the role alone. */
const ROLE = "developer";

interface Known {
  user: readonly string[];
  group: readonly string[];
}

async function known(signal: AbortSignal): Promise<Known> {
  const [users, groups] = await Promise.all([
    get<Page<{ username: string }>>(query("/api/users", { limit: OFFERED_MAX }), signal),
    get<Page<PeopleGroup>>(query("/api/people-groups", { limit: OFFERED_MAX }), signal),
  ]);
  return { user: users.body.items.map((each) => each.username), group: groups.body.items.map((each) => each.name) };
}

/** The API names the field within the list of all grants of the place. */
const wrongIn = (problem: Problem | undefined, field: string) => problem?.errors.find((error) => error.field === field || error.field.endsWith(`].${field}`))?.detail;

interface Asked {
  /** What is changed; nothing: one more. */
  it?: Grant | undefined;
  /** On which servers; nothing: it is asked for. */
  place?: Place | undefined;
  onDone(): void;
  onClose(): void;
}

export function GrantForm({ it, place, onDone, onClose }: Asked) {
  const before = it && toWhom(it);
  const [kind, setKind] = useState<Kind>(before?.kind ?? "user");
  const [name, setName] = useState(before?.name ?? "");
  const [may, setMay] = useState<readonly Right[]>(it?.may ?? ["terminal"]);
  const [from, setFrom] = useState(localOf(it?.from));
  const [until, setUntil] = useState(localOf(it?.until));
  const [where, setWhere] = useState<PlaceKind>("zone");
  const [servers, setServers] = useState("");
  const names = useAsked(known, []).value;
  const { busy, problem, act } = useAct();
  const whom = kind === "role" && name === "" ? ROLE : name.trim();
  const save = () =>
    act(async () => {
      const [begins, ends] = [instantOf(from, it?.from), instantOf(until, it?.until)];
      const after: Grant = {
        ...(it && Object.fromEntries(moreOf(it))),
        [kind]: whom,
        may: RIGHTS.filter((right) => may.includes(right)),
        ...(begins === undefined ? {} : { from: begins }),
        ...(ends === undefined ? {} : { until: ends }),
      };
      await change(place ?? { [where]: servers.trim() }, it, after);
      onDone();
      onClose();
    });
  const chooseKind = (chosen: string) => {
    setKind(chosen as Kind);
    setName(chosen === "role" ? ROLE : "");
  };
  const roles = [...new Set([ROLE, ...(kind === "role" && name !== "" ? [name] : [])])];
  return (
    <Dialog title={t(it ? "grant.change" : "grant.add")} onClose={onClose}>
      <form
        class="form"
        noValidate
        onSubmit={(event) => {
          event.preventDefault();
          save();
        }}
      >
        {place ? (
          place.server === undefined && <p class="muted">{placeText(place)}</p>
        ) : (
          <div class="field-row">
            <SelectField label={t("grant.place")} value={where} onValue={(chosen) => setWhere(chosen as PlaceKind)} options={PLACES.map((each) => [each, t(`grant.place.${each}`)] as const)} />
            <TextField label={t("grant.place.name")} value={servers} onValue={setServers} autocomplete="off" spellcheck={false} placeholder={where === "label" ? "env=prod" : where === "zone" ? "dmz" : "web"} error={wrongIn(problem, `servers.${where}`)} />
          </div>
        )}
        <div class="field-row">
          <SelectField label={t("grant.kind")} value={kind} onValue={chooseKind} options={KINDS.map((each) => [each, t(`grant.kind.${each}`)] as const)} />
          {kind === "role" ? (
            <SelectField label={t("grant.role")} value={whom} onValue={setName} options={roles.map((each) => [each, roleText(each)] as const)} />
          ) : (
            <TextField label={t(kind === "user" ? "sign_in.username" : "grant.group")} value={name} onValue={setName} autocomplete="off" spellcheck={false} suggestions={names?.[kind]} error={wrongIn(problem, kind)} />
          )}
        </div>
        {kind === "role" && <p class="hint">{t("grant.role.hint")}</p>}
        <fieldset>
          <legend>{t("grant.may")}</legend>
          <div class="choices">
            {RIGHTS.map((right) => (
              <CheckField key={right} label={t(`server.may.${right}`)} checked={may.includes(right)} onChecked={(wanted) => setMay(wanted ? [...may, right] : may.filter((each) => each !== right))} />
            ))}
          </div>
        </fieldset>
        <div class="field-row">
          <TextField label={t("grant.from")} type="datetime-local" value={from} onValue={setFrom} hint={t("grant.from.hint")} error={wrongIn(problem, "from")} />
          <TextField label={t("grant.until")} type="datetime-local" value={until} onValue={setUntil} hint={t("grant.until.hint")} error={wrongIn(problem, "until")} />
        </div>
        {it && moreOf(it).length > 0 && (
          <p class="hint">
            {t("grant.more.kept")} <MoreOf it={it} />
          </p>
        )}
        {problem && <Trouble problem={problem} />}
        <footer class="actions">
          <Button onPress={onClose}>{t("cancel")}</Button>
          <Button kind="primary" type="submit" busy={busy} disabled={whom === "" || may.length === 0 || (!place && servers.trim() === "")}>
            {t(it ? "save" : "grant.yes")}
          </Button>
        </footer>
      </form>
    </Dialog>
  );
}

function roleText(role: string): string {
  return role === "admin" || role === "operator" || role === "developer" || role === "auditor" ? t(`role.${role}`) : role;
}
