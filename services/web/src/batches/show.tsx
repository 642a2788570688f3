// One command on many servers: how far is it, and what became of it on each?
import { useRef, useState } from "preact/hooks";
import { fresh, get, post } from "../api";
import type { Parts } from "../api";
import { useAct } from "../asked";
import { useFollowed } from "../happenings";
import { t } from "../i18n/words";
import { Button } from "../parts/button";
import { Confirm } from "../parts/dialog";
import { CopyFact, Fact } from "../parts/fact";
import { Trouble, Unanswered } from "../parts/notice";
import { Ago } from "../parts/time";
import { mayWrite } from "../session";
import { span } from "../shown";
import { Answered, Waits } from "./approval";
import { BatchBadge } from "./badge";
import { allCommands, isSibling, lineOf, wrongOf } from "./batch";
import type { Command, WholeBatch } from "./batch";
import { Commands } from "./commands";
import { NAMED_MAX, toForm } from "./draft";
import { namesOf } from "./names";
import { Progress } from "./progress";
import type { Sifted } from "./progress";

export function ShowBatch({ id }: { id: string }) {
  // until the batch is known every command may be one of its own
  const first = useRef<Command | null>(null);
  const asked = useFollowed(
    async (signal) => (await get<WholeBatch>(fresh(`/api/batches/${id}`, { limit: 1 }), signal)).body,
    (event) => event.aggregateid === id || (event.kind === "command" && (first.current === null || isSibling(event.aggregateid, first.current))),
    [id],
  );
  const it = asked.value;
  first.current = it?.commands[0] ?? null;
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
        {mayWrite() && <Actions it={it} again={again} />}
      </header>
      {it.status === "awaiting_approval" && it.approval && <Waits it={it} approval={it.approval} again={again} />}
      <Progress it={it} sifted={sifted} onSift={setSifted} />
      <Commands batch={it} sifted={sifted} key={sifted} />
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
          {it.approval && it.status !== "awaiting_approval" && <Answered approval={it.approval} />}
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

function Actions({ it, again }: { it: WholeBatch; again(): void }) {
  const [asking, setAsking] = useState(false);
  const { busy, problem, act } = useAct();
  const wrong = wrongOf(it);
  const runOn = (parts: Parts) =>
    act(async () => {
      const { command, timeout_ms, idempotent, concurrency, stop_after_failures } = it;
      const ids = (await allCommands(it.batch_id, parts)).map(({ server_id }) => server_id);
      // the form names no more of them
      const nameOf = await namesOf(ids.slice(0, NAMED_MAX));
      const servers = ids.map((server_id) => ({ server_id, name: nameOf(server_id) }));
      toForm({ servers, command, timeout_ms, idempotent, concurrency, stop_after_failures });
    });
  return (
    <div class="page-tools">
      {it.status !== "ended" && it.cancelled_at === null && (
        <Button icon="stop" onPress={() => setAsking(true)}>
          {t("batch.cancel")}
        </Button>
      )}
      {wrong > 0 && (
        <Button icon="reset" busy={busy} onPress={() => runOn({ ok: "false" })}>
          {t("batch.again.wrong", { n: wrong })}
        </Button>
      )}
      <Button icon="reset" busy={busy} onPress={() => runOn({})}>
        {t("batch.again")}
      </Button>
      {problem && <Trouble problem={problem} />}
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
