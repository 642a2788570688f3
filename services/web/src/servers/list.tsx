// Which servers are there, and does one get in?
import { useMemo, useState } from "preact/hooks";
import { fresh, get, query } from "../api";
import type { Page } from "../api";
import { useFollowed } from "../happenings";
import { t } from "../i18n/words";
import { Button, LinkButton } from "../parts/button";
import { Nothing, Trouble, Waiting } from "../parts/notice";
import { Ago } from "../parts/time";
import { say } from "../parts/toast";
import { asProblem } from "../problem";
import { go } from "../router";
import { Badge } from "./badge";
import { keepsServers, labelsOf, placeOf } from "./server";
import type { Server } from "./server";

const PAGE = 100;

export function Servers() {
  const [text, setText] = useState("");
  const asked = useFollowed(
    async (signal) => (await get<Page<Server>>(fresh("/api/servers", { limit: PAGE }), signal)).body,
    (event) => event.kind === "server" || event.kind === "access",
    [],
  );
  const more = async () => {
    const cursor = asked.value?.next_cursor;
    if (!cursor) return;
    try {
      const { body } = await get<Page<Server>>(query("/api/servers", { limit: PAGE, cursor }));
      asked.set((page) => ({ ...body, items: [...page.items, ...body.items] }));
    } catch (error) {
      say(asProblem(error).title, "bad");
    }
  };
  const shown = useMemo(() => {
    const wanted = text.trim().toLowerCase();
    const items = asked.value?.items ?? [];
    if (wanted === "") return items;
    const parts = (each: Server) => [each.name, each.server_id, placeOf(each), each.zone ?? "", ...each.groups, ...labelsOf(each)];
    return items.filter((each) => parts(each).some((part) => part.toLowerCase().includes(wanted)));
  }, [asked.value, text]);
  return (
    <main id="main">
      <header class="page-head">
        <h1>{t("servers")}</h1>
        <div class="page-tools">
          <input
            class="search"
            type="search"
            value={text}
            placeholder={t("search")}
            aria-label={t("servers.search")}
            onInput={(event) => setText(event.currentTarget.value)}
          />
          {keepsServers() && (
            <LinkButton kind="primary" icon="add" to="/servers/new">
              {t("servers.new")}
            </LinkButton>
          )}
        </div>
      </header>
      {asked.problem && <Trouble problem={asked.problem} again={asked.again} />}
      {!asked.value && !asked.problem && <Waiting />}
      {asked.value && asked.value.items.length === 0 && (
        <Nothing icon="server" title={t("servers.none")}>
          <p>{t(keepsServers() ? "servers.none.hint" : "servers.none.granted")}</p>
        </Nothing>
      )}
      {asked.value && asked.value.items.length > 0 && shown.length === 0 && <Nothing icon="search" title={t("servers.unmatched")} />}
      {shown.length > 0 && <Table items={shown} />}
      {asked.value?.next_cursor && (
        <p class="more">
          <Button onPress={() => void more()}>{t("more")}</Button>
        </p>
      )}
    </main>
  );
}

function Table({ items }: { items: Server[] }) {
  return (
    <table class="rows servers">
      <thead>
        <tr>
          <th scope="col">{t("name")}</th>
          <th scope="col">{t("status")}</th>
          <th scope="col">{t("server.place")}</th>
          <th scope="col">{t("server.sorted")}</th>
          <th scope="col">{t("server.tested")}</th>
          <th scope="col">
            <span class="off-screen">{t("actions")}</span>
          </th>
        </tr>
      </thead>
      <tbody>
        {items.map((each) => (
          <Row key={each.server_id} it={each} />
        ))}
      </tbody>
    </table>
  );
}

function Row({ it }: { it: Server }) {
  const page = `/servers/${it.server_id}`;
  const open = (click: MouseEvent) => {
    // the whole row leads there; what is a control in itself does not
    if (click.target instanceof Element && click.target.closest("a, button")) return;
    if (getSelection()?.toString()) return;
    go(page);
  };
  const sorted = [it.zone, ...it.groups, ...labelsOf(it)].filter((part) => part !== null);
  return (
    <tr onClick={open} class="leads">
      <th scope="row">
        <a class="row-name" href={page}>
          {it.name}
        </a>
        <code class="row-id">{it.server_id}</code>
      </th>
      <td data-label={t("status")}>
        <Badge server={it} />
        {it.test && !it.test.ok && it.test.reason && <span class="row-reason failed">{it.test.reason}</span>}
      </td>
      <td data-label={t("server.place")}>
        <code class="breaks">{placeOf(it)}</code>
      </td>
      <td data-label={t("server.sorted")}>{sorted.length === 0 ? <span class="muted">–</span> : sorted.join(" · ")}</td>
      <td data-label={t("server.tested")} class="nowrap">
        {it.test?.at ? <Ago time={it.test.at} /> : <span class="muted">{t("server.untested")}</span>}
      </td>
      <td class="row-actions">
        {it.may.includes("terminal") && <LinkButton kind="quiet" icon="terminal" to={`/terminal/${it.server_id}`} label={t("terminal.open_in", { name: it.name })} />}
      </td>
    </tr>
  );
}
