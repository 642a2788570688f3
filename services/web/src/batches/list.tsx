// Which commands were run on servers, and how did they go?
import { t } from "../i18n/words";
import { useListed } from "../listed";
import { LinkButton } from "../parts/button";
import { LeadingRow } from "../parts/leading_row";
import { More } from "../parts/more";
import { Nothing, Unanswered } from "../parts/notice";
import { Ago } from "../parts/time";
import { mayWrite } from "../session";
import { BatchBadge } from "./badge";
import { endedOf, lineOf } from "./batch";
import type { Batch } from "./batch";

export function Batches() {
  const asked = useListed<Batch>("/api/batches", {}, (event) => event.kind === "batch" || event.kind === "command");
  const items = asked.value?.items ?? [];
  return (
    <main id="main">
      <header class="page-head">
        <h1>{t("batches")}</h1>
        <div class="page-tools">
          <LinkButton icon="clock" to="/schedules">
            {t("schedules")}
          </LinkButton>
          {mayWrite() && (
            <LinkButton kind="primary" icon="server" to="/servers">
              {t("batches.choose")}
            </LinkButton>
          )}
        </div>
      </header>
      <Unanswered asked={asked} />
      {asked.value && items.length === 0 && (
        <Nothing icon="command" title={t("batches.none")}>
          <p>{t("batches.none.hint")}</p>
        </Nothing>
      )}
      {items.length > 0 && <Table items={items} />}
      <More asked={asked} path="/api/batches" />
    </main>
  );
}

function Table({ items }: { items: Batch[] }) {
  return (
    <table class="rows">
      <thead>
        <tr>
          <th scope="col">{t("batch.command")}</th>
          <th scope="col">{t("status")}</th>
          <th scope="col">{t("servers")}</th>
          <th scope="col">{t("batch.by")}</th>
          <th scope="col">{t("batch.begun")}</th>
        </tr>
      </thead>
      <tbody>
        {items.map((each) => (
          <Row key={each.batch_id} it={each} />
        ))}
      </tbody>
    </table>
  );
}

function Row({ it }: { it: Batch }) {
  const page = `/batches/${it.batch_id}`;
  return (
    <LeadingRow to={page}>
      <th scope="row">
        <a class="row-name breaks" href={page}>
          <code>{lineOf(it)}</code>
        </a>
        <code class="row-id">{it.batch_id}</code>
      </th>
      <td data-label={t("status")}>
        <BatchBadge it={it} />
      </td>
      <td data-label={t("servers")}>{it.status === "running" ? t("batch.progress", { ended: endedOf(it), all: it.servers }) : it.servers}</td>
      <td data-label={t("batch.by")}>{it.by}</td>
      <td data-label={t("batch.begun")} class="nowrap">
        <Ago time={it.created_at} />
      </td>
    </LeadingRow>
  );
}
