// Who tried to get in, which addresses are closed, and who opens them again?
import { useState } from "preact/hooks";
import { fresh, get, post } from "../api";
import type { Page } from "../api";
import { useAct } from "../asked";
import { useFollowed } from "../happenings";
import { isKey, t } from "../i18n/words";
import { Button } from "../parts/button";
import { Nothing, Trouble, Waiting } from "../parts/notice";
import { Ago } from "../parts/time";
import { say } from "../parts/toast";
import { mayWrite } from "../session";
import { clock, duration, left_s } from "../shown";
import type { Event } from "../sse";
import type { Lockout, Login } from "./environment";
import { entranceText, methodText } from "./sessions";

const SHOWN_MAX = 100;
const TONES: Record<string, string> = { failed: "bad", locked: "bad", succeeded: "good" };
const KINDS = ["", "failed", "succeeded", "locked"] as const;

export function Logins({ id }: { id: string }) {
  const [kind, setKind] = useState<(typeof KINDS)[number]>("");
  const concerns = (event: Event) => event.kind === "login" && event.aggregateid === id;
  const asked = useFollowed(
    async (signal) => (await get<Page<Login>>(fresh(`/api/environments/${id}/logins`, { limit: SHOWN_MAX, kind }), signal)).body.items,
    concerns,
    [id, kind],
  );
  const locks = useFollowed(
    async (signal) => (await get<{ items: Lockout[] }>(fresh(`/api/environments/${id}/lockouts`), signal)).body.items,
    concerns,
    [id],
  );
  const both = () => {
    asked.again();
    locks.again();
  };
  return (
    <>
      {locks.value && locks.value.length > 0 && <Locked id={id} locks={locks.value} onOpened={both} />}
      <div class="choices" role="group" aria-label={t("logins.filter")}>
        {KINDS.map((each) => (
          <Button key={each} pressed={kind === each} onPress={() => setKind(each)}>
            {t(each === "" ? "logins.all" : `login.${each}`)}
          </Button>
        ))}
      </div>
      {asked.problem && <Trouble problem={asked.problem} again={both} />}
      {!asked.value && !asked.problem && <Waiting />}
      {asked.value?.length === 0 && <Nothing icon="lock" title={t("logins.none")} />}
      {asked.value && asked.value.length > 0 && (
        <table class="rows">
          <thead>
            <tr>
              <th scope="col">{t("login.what")}</th>
              <th scope="col">{t("session.from")}</th>
              <th scope="col">{t("session.entrance")}</th>
              <th scope="col">{t("login.why")}</th>
              <th scope="col">{t("login.when")}</th>
            </tr>
          </thead>
          <tbody>
            {asked.value.map((each) => (
              <Row key={each.seq} login={each} />
            ))}
          </tbody>
        </table>
      )}
    </>
  );
}

function Row({ login: it }: { login: Login }) {
  const tone = TONES[it.kind] ?? "still";
  return (
    <tr>
      <th scope="row">
        <span class={`badge ${tone}`}>
          <span class="dot" aria-hidden="true" />
          {kindText(it.kind)}
        </span>
      </th>
      <td data-label={t("session.from")}>
        <code>{it.ip ?? t("login.every_address")}</code>
        {it.user && <span class="row-id">{it.user}</span>}
      </td>
      <td data-label={t("session.entrance")}>{it.entrance ? entranceText(it.entrance) : "—"}</td>
      <td data-label={t("login.why")}>{whyText(it)}</td>
      <td data-label={t("login.when")} class="nowrap">
        <Ago time={it.at} />
      </td>
    </tr>
  );
}

function kindText(kind: string): string {
  const key = `login.${kind}`;
  return isKey(key) ? t(key) : kind;
}

function whyText(it: Login): string {
  if (it.until) return t("login.until", { time: clock(it.until) });
  if (it.class) {
    const key = `login.class.${it.class}`;
    return isKey(key) ? t(key) : it.class.replaceAll("_", " ");
  }
  return it.method ? methodText(it.method) : "—";
}

function Locked({ id, locks, onOpened }: { id: string; locks: Lockout[]; onOpened(): void }) {
  const { busy, problem, act } = useAct();
  const open = (ip: string) =>
    act(async () => {
      await post(`/api/environments/${id}/unlock`, { ip });
      say(t("unlock.done", { ip }));
      onOpened();
    });
  return (
    <section class="locked" aria-label={t("locked.title")}>
      <h3>{t("locked.title")}</h3>
      <ul>
        {locks.map((lock) => (
          <li key={lock.ip}>
            <code>{lock.ip}</code>
            <span class="muted">{t("locked.left", { time: duration(left_s(lock.until)) })}</span>
            {mayWrite() && (
              <Button icon="unlock" busy={busy} onPress={() => open(lock.ip)}>
                {t("unlock")}
              </Button>
            )}
          </li>
        ))}
      </ul>
      {problem && <Trouble problem={problem} />}
    </section>
  );
}
