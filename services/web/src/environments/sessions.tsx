// Who is connected, and who was?
import { fresh, get } from "../api";
import type { Page } from "../api";
import { useFollowed } from "../happenings";
import { isKey, t } from "../i18n/words";
import { Nothing, Trouble, Waiting } from "../parts/notice";
import { Ago } from "../parts/time";
import { bytes, duration, now } from "../shown";
import type { Session } from "./environment";

const SHOWN_MAX = 100;

export function Sessions({ id }: { id: string }) {
  const asked = useFollowed(
    async (signal) => (await get<Page<Session>>(fresh(`/api/environments/${id}/sessions`, { limit: SHOWN_MAX }), signal)).body.items,
    // the event says of which environment only when the session opens; a close is one of ours or harmless
    (event) => event.kind === "session" && (event.data["env"] ?? id) === id,
    [id],
  );
  if (asked.problem) return <Trouble problem={asked.problem} again={asked.again} />;
  if (!asked.value) return <Waiting />;
  if (asked.value.length === 0) return <Nothing icon="person" title={t("sessions.none")} />;
  return (
    <table class="rows">
      <thead>
        <tr>
          <th scope="col">{t("session.from")}</th>
          <th scope="col">{t("session.entrance")}</th>
          <th scope="col">{t("session.opened")}</th>
          <th scope="col">{t("session.lasted")}</th>
          <th scope="col">{t("session.bytes")}</th>
          <th scope="col">{t("session.end")}</th>
        </tr>
      </thead>
      <tbody>
        {asked.value.map((each) => (
          <Row key={each.session_id} session={each} />
        ))}
      </tbody>
    </table>
  );
}

function Row({ session: it }: { session: Session }) {
  const end = it.closed_at === null ? now.value : Date.parse(it.closed_at);
  return (
    <tr>
      <th scope="row">
        <code>{it.ip}</code>
        <span class="row-id">
          {it.user} · {methodText(it.method)}
        </span>
      </th>
      <td data-label={t("session.entrance")}>{entranceText(it.entrance)}</td>
      <td data-label={t("session.opened")} class="nowrap">
        <Ago time={it.opened_at} />
      </td>
      <td data-label={t("session.lasted")} class="nowrap">
        {duration(Math.max(0, (end - Date.parse(it.opened_at)) / 1000))}
      </td>
      <td data-label={t("session.bytes")} class="nowrap">
        {it.bytes_in === null || it.bytes_out === null ? "—" : `↑ ${bytes(it.bytes_in)} ↓ ${bytes(it.bytes_out)}`}
      </td>
      <td data-label={t("session.end")}>
        {it.closed_at === null ? (
          <span class="badge good">
            <span class="dot" aria-hidden="true" />
            {t("session.open")}
          </span>
        ) : (
          reasonText(it.reason ?? "")
        )}
      </td>
    </tr>
  );
}

export function entranceText(entrance: string): string {
  const key = `entrance.${entrance}`;
  return isKey(key) ? t(key) : entrance;
}

export function methodText(method: string): string {
  const key = `method.${method}`;
  return isKey(key) ? t(key) : method;
}

function reasonText(reason: string): string {
  const key = `session.reason.${reason}`;
  return isKey(key) ? t(key) : reason.replaceAll("_", " ");
}
