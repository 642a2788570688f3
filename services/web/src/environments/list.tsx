// Which environments are there, and how are they now?
import { useMemo, useRef, useState } from "preact/hooks";
import { fresh, get } from "../api";
import type { Page } from "../api";
import { useAsked } from "../asked";
import { useHappenings } from "../happenings";
import { t } from "../i18n/words";
import { PAGE } from "../listed";
import { LinkButton } from "../parts/button";
import { Copy } from "../parts/copy";
import { LeadingRow } from "../parts/leading_row";
import { More } from "../parts/more";
import { Nothing, Unanswered } from "../parts/notice";
import { Ago } from "../parts/time";
import { mayWrite, me } from "../session";
import { amount } from "../shown";
import type { Event } from "../sse";
import { Badge } from "./badge";
import { comesUp } from "./environment";
import type { Environment } from "./environment";
import { QuotaStrip } from "./quota";

/** Newest first; deleted ones are not there. */
function merged(known: Environment[], seen: Environment): Environment[] {
  const others = known.filter((each) => each.env_id !== seen.env_id);
  if (seen.status === "deleted") return others;
  const at = known.findIndex((each) => each.env_id === seen.env_id);
  if (at >= 0) return known.map((each) => (each.env_id === seen.env_id ? seen : each));
  return [seen, ...others].sort((a, b) => b.created_at.localeCompare(a.created_at));
}

export function Environments() {
  const [text, setText] = useState("");
  const asked = useAsked(async (signal) => (await get<Page<Environment>>(fresh("/api/environments", { limit: PAGE }), signal)).body, []);
  const newest = useRef(new Map<string, number>());

  // an event is a doorbell: the environment is asked for anew, as it is at that event or later
  const onEvent = (event: Event) => {
    if (event.kind !== "env") return;
    newest.current.set(event.aggregateid, event.seq);
    void get<Environment>(fresh(`/api/environments/${event.aggregateid}`))
      .then(({ body }) => {
        if (newest.current.get(event.aggregateid) !== event.seq) return;
        asked.set((page) => ({ ...page, items: merged(page.items, body) }));
      })
      .catch(() => undefined);
  };
  useHappenings({ onBegin: asked.again, onEvent }, [asked.again, asked.set]);

  const shown = useMemo(() => {
    const wanted = text.trim().toLowerCase();
    const items = asked.value?.items ?? [];
    if (wanted === "") return items;
    return items.filter((each) => [each.name, each.env_id, each.owner, each.status].some((part) => part.toLowerCase().includes(wanted)));
  }, [asked.value, text]);

  return (
    <main id="main">
      <header class="page-head">
        <h1>{t("environments")}</h1>
        <div class="page-tools">
          <input
            class="search"
            type="search"
            value={text}
            placeholder={t("search")}
            aria-label={t("environments.search")}
            onInput={(event) => setText(event.currentTarget.value)}
          />
          {mayWrite() && (
            <LinkButton kind="primary" icon="add" to="/environments/new">
              {t("environments.new")}
            </LinkButton>
          )}
        </div>
      </header>
      <QuotaStrip />
      <Unanswered asked={asked} />
      {asked.value && asked.value.items.length === 0 && (
        <Nothing icon="cube" title={t("environments.none")}>
          <p>{t("environments.none.hint")}</p>
        </Nothing>
      )}
      {asked.value && asked.value.items.length > 0 && shown.length === 0 && <Nothing icon="search" title={t("environments.unmatched")} />}
      {shown.length > 0 && <Table items={shown} />}
      <More asked={asked} path="/api/environments" />
    </main>
  );
}

function Table({ items }: { items: Environment[] }) {
  const owners = me.value?.role !== "developer";
  return (
    <table class="rows environments">
      <thead>
        <tr>
          <th scope="col">{t("name")}</th>
          <th scope="col">{t("status")}</th>
          <th scope="col">{t("resources")}</th>
          <th scope="col">{t("card.ssh")}</th>
          {owners && <th scope="col">{t("owner")}</th>}
          <th scope="col">{t("created")}</th>
          <th scope="col">
            <span class="off-screen">{t("actions")}</span>
          </th>
        </tr>
      </thead>
      <tbody>
        {items.map((each) => (
          <Row key={each.env_id} environment={each} owners={owners} />
        ))}
      </tbody>
    </table>
  );
}

function Row({ environment: it, owners }: { environment: Environment; owners: boolean }) {
  const page = `/environments/${it.env_id}`;
  return (
    <LeadingRow to={page}>
      <th scope="row">
        <a class="row-name" href={page}>
          {it.name}
        </a>
        <code class="row-id">{it.env_id}</code>
      </th>
      <td data-label={t("status")}>
        <Badge status={it.status} />
        {(comesUp(it.status) || it.status === "failed") && it.reason && <span class={`row-reason ${it.status}`}>{it.reason}</span>}
      </td>
      <td data-label={t("resources")} class="nowrap">{resourcesText(it)}</td>
      <td data-label={t("card.ssh")} class="row-command">
        {it.ssh_command ? (
          <span class="with-copy">
            <code>{it.ssh_command}</code>
            <Copy text={it.ssh_command} what={t("card.ssh")} />
          </span>
        ) : (
          <span class="muted">{t("not_yet")}</span>
        )}
      </td>
      {owners && <td data-label={t("owner")}>{it.owner}</td>}
      <td data-label={t("created")} class="nowrap">
        <Ago time={it.created_at} />
      </td>
      <td class="row-actions">
        {it.status === "running" && mayWrite() && <LinkButton kind="quiet" icon="terminal" to={`/terminal/${it.env_id}`} label={t("terminal.open_in", { name: it.name })} />}
      </td>
    </LeadingRow>
  );
}

/** `2 cores, 4 GiB, 1 GPU`. */
export function resourcesText({ resources }: Environment): string {
  const parts = [t("amount.cores", { n: amount(resources.cpu) }), t("amount.gib", { n: amount(resources.memory) })];
  if (resources.gpu > 0) parts.push(t("amount.gpus", { n: resources.gpu }));
  return parts.join(" · ");
}
