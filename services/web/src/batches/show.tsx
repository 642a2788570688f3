// One command on many servers: how far is it, and what became of it on each?
import { useMemo, useRef, useState } from "preact/hooks";
import { fresh, get, post } from "../api";
import { useAct } from "../asked";
import { useFollowed } from "../happenings";
import { t } from "../i18n/words";
import { Button } from "../parts/button";
import { Confirm } from "../parts/dialog";
import { CopyFact, Fact } from "../parts/fact";
import { Nothing, Trouble, Unanswered } from "../parts/notice";
import { Ago } from "../parts/time";
import { mayWrite } from "../session";
import { span } from "../shown";
import { BatchBadge } from "./badge";
import { isIncomplete, lineOf, standingOf } from "./batch";
import type { Command, WholeBatch } from "./batch";
import { Commands } from "./commands";
import { toForm } from "./draft";
import { useNames } from "./names";
import type { NameOf } from "./names";
import { Progress } from "./progress";
import type { Sifted } from "./progress";

export function ShowBatch({ id }: { id: string }) {
  // until the batch is known every command may be one of its own
  const own = useRef<Set<string> | null>(null);
  const asked = useFollowed(
    async (signal) => (await get<WholeBatch>(fresh(`/api/batches/${id}`), signal)).body,
    (event) => event.aggregateid === id || (event.kind === "command" && (own.current?.has(event.aggregateid) ?? true)),
    [id],
  );
  const it = asked.value;
  own.current = useMemo(() => (it ? new Set(it.commands.map((each) => each.command_id)) : null), [it]);
  return (
    <main id="main">
      <nav class="crumbs" aria-label={t("crumbs")}>
        <a href="/batches">{t("batches")}</a>
      </nav>
      <Unanswered asked={asked} />
      {it && <Whole it={it} again={asked.again} />}
    </main>
  );
}

function Whole({ it, again }: { it: WholeBatch; again(): void }) {
  const [sifted, setSifted] = useState<Sifted>("all");
  const nameOf = useNames(it);
  const items = it.commands.filter((each) => sifted === "all" || standingOf(each) === sifted);
  return (
    <>
      <header class="page-head">
        <div class="page-title">
          <h1>
            <code>{lineOf(it)}</code>
          </h1>
          <BatchBadge it={it} />
          <code class="row-id">{it.batch_id}</code>
        </div>
        {mayWrite() && <Actions it={it} nameOf={nameOf} again={again} />}
      </header>
      <Progress it={it} sifted={sifted} onSift={setSifted} />
      {items.length === 0 ? <Nothing icon="search" title={t("batch.unmatched")} /> : <Commands items={items} nameOf={nameOf} key={sifted} />}
      <section class="panel" aria-labelledby="batch-asked">
        <h2 id="batch-asked">{t("batch.asked")}</h2>
        <dl class="facts">
          <CopyFact name={t("batch.command")} text={it.command} block />
          <Fact name={t("batch.by")}>{it.by}</Fact>
          <Fact name={t("created")}>
            <Ago time={it.created_at} />
          </Fact>
          <Fact name={t("batch.timeout")}>{span(it.timeout_ms)}</Fact>
          <Fact name={t("batch.concurrency")}>{it.concurrency}</Fact>
          {it.stop_after_failures !== null && <Fact name={t("batch.stop_after")}>{it.stop_after_failures}</Fact>}
          <Fact name={t("batch.idempotent")}>{t(it.idempotent ? "yes" : "no")}</Fact>
          {it.stopped_at && (
            <Fact name={t("batch.stopped")}>
              <Ago time={it.stopped_at} />
            </Fact>
          )}
          {it.cancelled_at && (
            <Fact name={t("batch.cancelled")}>
              <Ago time={it.cancelled_at} />
            </Fact>
          )}
        </dl>
      </section>
    </>
  );
}

function Actions({ it, nameOf, again }: { it: WholeBatch; nameOf: NameOf; again(): void }) {
  const [asking, setAsking] = useState(false);
  const incomplete = it.commands.filter(isIncomplete);
  const runOn = (commands: readonly Command[]) => {
    const { command, timeout_ms, idempotent, concurrency, stop_after_failures } = it;
    const servers = commands.map(({ server_id }) => ({ server_id, name: nameOf(server_id) }));
    toForm({ servers, command, timeout_ms, idempotent, concurrency, stop_after_failures });
  };
  return (
    <div class="page-tools">
      {it.status === "running" && it.cancelled_at === null && (
        <Button icon="stop" onPress={() => setAsking(true)}>
          {t("batch.cancel")}
        </Button>
      )}
      {incomplete.length > 0 && (
        <Button icon="reset" onPress={() => runOn(incomplete)}>
          {t("batch.again.incomplete", { n: incomplete.length })}
        </Button>
      )}
      <Button icon="reset" onPress={() => runOn(it.commands)}>
        {t("batch.again")}
      </Button>
      {asking && <CallOff it={it} onDone={again} onClose={() => setAsking(false)} />}
    </div>
  );
}

function CallOff({ it, onDone, onClose }: { it: WholeBatch; onDone(): void; onClose(): void }) {
  const { busy, problem, act } = useAct();
  const cancel = () =>
    act(async () => {
      await post(`/api/batches/${it.batch_id}/cancel`);
      onClose();
      onDone();
    });
  return (
    <Confirm title={t("batch.cancel.title")} yes={t("batch.cancel")} danger busy={busy} onYes={cancel} onClose={onClose}>
      <p>{t("batch.cancel.ask")}</p>
      {problem && <Trouble problem={problem} />}
    </Confirm>
  );
}
