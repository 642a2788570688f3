// How is this environment, how does one get in, and who was there?
import { useState } from "preact/hooks";
import { del, fresh, get, post } from "../api";
import { useAct } from "../asked";
import { useFollowed } from "../happenings";
import { t } from "../i18n/words";
import { Button } from "../parts/button";
import { Confirm } from "../parts/dialog";
import { Fact } from "../parts/fact";
import { Trouble, Unanswered } from "../parts/notice";
import { Tabs } from "../parts/tabs";
import { Ago } from "../parts/time";
import { mayWrite } from "../session";
import { Recordings } from "../recordings/list";
import { instant } from "../shown";
import { AllowList } from "./allow_list";
import { Badge } from "./badge";
import { ConnectionCard } from "./card";
import { mayStart, mayStop, stays } from "./environment";
import type { Environment } from "./environment";
import { resourcesText } from "./list";
import { Logins } from "./logins";
import { Progress } from "./progress";
import { Sessions } from "./sessions";

export function Show({ id }: { id: string }) {
  const asked = useFollowed(
    async (signal) => (await get<Environment>(fresh(`/api/environments/${id}`), signal)).body,
    (event) => event.kind === "env" && event.aggregateid === id,
    [id],
  );
  const it = asked.value;
  return (
    <main id="main">
      <nav class="crumbs" aria-label={t("crumbs")}>
        <a href="/environments">{t("environments")}</a>
      </nav>
      <Unanswered asked={asked} />
      {it && <Whole it={it} onAsked={asked.again} />}
    </main>
  );
}

function Whole({ it, onAsked }: { it: Environment; onAsked(): void }) {
  return (
    <>
      <header class="page-head">
        <div class="page-title">
          <h1>{it.name}</h1>
          <Badge status={it.status} />
          <code class="row-id">{it.env_id}</code>
        </div>
        <Actions it={it} onAsked={onAsked} />
      </header>
      {it.status === "failed" && it.reason && (
        <div class="trouble" role="alert">
          <div>
            <p class="trouble-title">{t("failed.in", { phase: it.phase ?? "?" })}</p>
            <p class="trouble-detail">{it.reason}</p>
          </div>
        </div>
      )}
      <div class="columns">
        {it.status === "deleted" ? <p class="panel">{t("deleted.hint")}</p> : <ConnectionCard environment={it} />}
        <Details it={it} />
      </div>
      <Tabs
        label={t("show.views")}
        tabs={[
          { name: "progress", label: t("progress"), body: () => <Progress id={it.env_id} /> },
          { name: "sessions", label: t("sessions"), body: () => <Sessions id={it.env_id} /> },
          { name: "recordings", label: t("recordings"), body: () => <Recordings it={it} /> },
          { name: "logins", label: t("logins"), body: () => <Logins id={it.env_id} /> },
          { name: "allow", label: t("allow"), body: () => <AllowList it={it} /> },
        ]}
      />
    </>
  );
}

function Details({ it }: { it: Environment }) {
  return (
    <section class="panel details" aria-labelledby="details-title">
      <h2 id="details-title">{t("details")}</h2>
      <dl class="facts">
        <Fact name={t("resources")}>{resourcesText(it)}</Fact>
        {it.resources.storage > 0 && <Fact name={t("create.storage")}>{t("amount.gib", { n: it.resources.storage })}</Fact>}
        <Fact name={t("create.image")}>
          <code>{it.image}</code>
        </Fact>
        <Fact name={t("owner")}>
          {it.owner} <span class="muted">({it.tenant_id})</span>
        </Fact>
        <Fact name={t("created")}>
          <Ago time={it.created_at} />
        </Fact>
        <Fact name={t("ends")}>{it.expires_at ? <time dateTime={it.expires_at}>{instant(it.expires_at)}</time> : <span class="muted">{t("create.life.unbounded")}</span>}</Fact>
      </dl>
    </section>
  );
}

function Actions({ it, onAsked }: { it: Environment; onAsked(): void }) {
  const [deleting, setDeleting] = useState(false);
  const { busy, problem, act, clear } = useAct();
  if (!mayWrite() || !stays(it.status)) return null;
  const ask = (what: () => Promise<unknown>) =>
    act(async () => {
      await what();
      setDeleting(false);
      onAsked();
    });
  const path = `/api/environments/${it.env_id}`;
  return (
    <div class="page-tools">
      {mayStart(it.status) && (
        <Button kind="primary" icon="play" busy={busy} onPress={() => ask(() => post(`${path}/start`))}>
          {t("start")}
        </Button>
      )}
      {mayStop(it.status) && (
        <Button icon="stop" busy={busy} onPress={() => ask(() => post(`${path}/stop`))}>
          {t("stop")}
        </Button>
      )}
      <Button icon="delete" onPress={() => (clear(), setDeleting(true))}>
        {t("delete")}
      </Button>
      {problem && !deleting && <p class="error" role="alert">{problem.title}</p>}
      {deleting && (
        <Confirm title={t("delete.title", { name: it.name })} yes={t("delete")} danger busy={busy} onYes={() => ask(() => del(path))} onClose={() => setDeleting(false)}>
          <p>{t("delete.ask")}</p>
          {problem && <Trouble problem={problem} />}
        </Confirm>
      )}
    </div>
  );
}
