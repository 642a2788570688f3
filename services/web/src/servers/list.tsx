// Which servers are there, and does one get in?
import { useMemo, useState } from "preact/hooks";
import { seesGrants } from "../grants/grant";
import { t } from "../i18n/words";
import { labelsOf } from "../labels";
import { useListed } from "../listed";
import { LinkButton } from "../parts/button";
import { LeadingRow } from "../parts/leading_row";
import { More } from "../parts/more";
import { Nothing, Unanswered } from "../parts/notice";
import { Ago } from "../parts/time";
import { Badge } from "./badge";
import { SelectBox, Selection } from "./selection";
import type { Choosing, Chosen } from "./selection";
import { keepsServers, mayRun, placeOf } from "./server";
import type { Server } from "./server";

export function Servers() {
  const [text, setText] = useState("");
  const [chosen, setChosen] = useState<Chosen>(new Map());
  const asked = useListed<Server>("/api/servers", {}, (event) => event.kind === "server" || event.kind === "access");
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
          {seesGrants() && (
            <LinkButton icon="person" to="/servers/grants">
              {t("grants")}
            </LinkButton>
          )}
          {keepsServers() && (
            <LinkButton kind="primary" icon="add" to="/servers/new">
              {t("servers.new")}
            </LinkButton>
          )}
        </div>
      </header>
      <Unanswered asked={asked} />
      {asked.value && asked.value.items.length === 0 && (
        <Nothing icon="server" title={t("servers.none")}>
          <p>{t(keepsServers() ? "servers.none.hint" : "servers.none.granted")}</p>
        </Nothing>
      )}
      {asked.value && asked.value.items.length > 0 && shown.length === 0 && <Nothing icon="search" title={t("servers.unmatched")} />}
      <Selection shown={shown} chosen={chosen} onChosen={setChosen} />
      {shown.length > 0 && <Table items={shown} chosen={chosen} onChosen={setChosen} />}
      <More asked={asked} path="/api/servers" />
    </main>
  );
}

function Table({ items, ...choosing }: { items: Server[] } & Choosing) {
  const selects = items.some(mayRun);
  return (
    <table class="rows servers">
      <thead>
        <tr>
          {selects && (
            <th scope="col">
              <span class="off-screen">{t("servers.selection")}</span>
            </th>
          )}
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
          <Row key={each.server_id} it={each} selects={selects} {...choosing} />
        ))}
      </tbody>
    </table>
  );
}

function Row({ it, selects, chosen, onChosen }: { it: Server; selects: boolean } & Choosing) {
  const page = `/servers/${it.server_id}`;
  const sorted = [it.zone, ...it.groups, ...labelsOf(it)].filter((part) => part !== null);
  return (
    <LeadingRow to={page}>
      {selects && <SelectBox it={it} chosen={chosen} onChosen={onChosen} />}
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
    </LeadingRow>
  );
}
