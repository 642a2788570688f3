// Does a command that is marked dangerous wait for a second person, and what does that one say?
import { useState } from "preact/hooks";
import { post } from "../api";
import { useAct } from "../asked";
import { t } from "../i18n/words";
import { Button } from "../parts/button";
import { Confirm } from "../parts/dialog";
import { Fact } from "../parts/fact";
import { TextField } from "../parts/field";
import { Trouble } from "../parts/notice";
import { Ago } from "../parts/time";
import { me } from "../session";
import type { Approval, Batch } from "./batch";

const REASON_MAX = 500;

/** Operators and administrators answer, never to what they asked for themselves. */
const mayAnswer = ({ by }: Batch) => (me.value?.role === "admin" || me.value?.role === "operator") && me.value.owner !== by;

/** What is waited for, and the two answers for those who may give one. */
export function Waits({ it, approval, again }: { it: Batch; approval: Approval; again(): void }) {
  const [asking, setAsking] = useState<"approve" | "reject">();
  const may = mayAnswer(it);
  return (
    <section class="panel approval" aria-labelledby="batch-approval">
      <h2 id="batch-approval">{t("approval")}</h2>
      <p>{t(may ? "approval.asked" : "approval.waits", { by: it.by })}</p>
      <dl class="facts">
        <Fact name={t("approval.patterns")}>
          <Patterns of={approval} />
        </Fact>
        <Fact name={t("approval.until")}>
          <Ago time={approval.until} />
        </Fact>
      </dl>
      {may && (
        <footer class="actions">
          <Button kind="danger" icon="close" onPress={() => setAsking("reject")}>
            {t("approval.reject")}
          </Button>
          <Button kind="primary" icon="check" onPress={() => setAsking("approve")}>
            {t("approval.approve")}
          </Button>
        </footer>
      )}
      {asking === "approve" && <Approve it={it} onDone={again} onClose={() => setAsking(undefined)} />}
      {asking === "reject" && <Reject it={it} onDone={again} onClose={() => setAsking(undefined)} />}
    </section>
  );
}

/** What was answered, among what is known of a batch. */
export function Answered({ approval }: { approval: Approval }) {
  const { answer, by, at, reason } = approval;
  return (
    <>
      <Fact name={t("approval.patterns")}>
        <Patterns of={approval} />
      </Fact>
      {answer !== null && at !== null && (
        <Fact name={t(`approval.${answer}`)}>
          {by} <Ago time={at} />
        </Fact>
      )}
      {reason !== null && <Fact name={t("approval.reason")}>{reason}</Fact>}
    </>
  );
}

function Patterns({ of }: { of: Approval }) {
  return (
    <>
      {of.patterns.map((pattern) => (
        <div key={pattern}>
          <code>{pattern}</code>
        </div>
      ))}
    </>
  );
}

interface Asked {
  it: Batch;
  onDone(): void;
  onClose(): void;
}

function Approve({ it, onDone, onClose }: Asked) {
  const { busy, problem, act } = useAct();
  const approve = () =>
    act(async () => {
      await post(`/api/batches/${it.batch_id}/approve`);
      onClose();
      onDone();
    });
  return (
    <Confirm title={t("approval.approve.title")} yes={t("approval.approve")} busy={busy} onYes={approve} onClose={onClose}>
      <pre class="breaks" tabIndex={0} aria-label={t("batch.command")}>
        {it.command.trimEnd()}
      </pre>
      <p>{t("approval.approve.ask", { by: it.by, n: it.servers })}</p>
      {problem && <Trouble problem={problem} />}
    </Confirm>
  );
}

function Reject({ it, onDone, onClose }: Asked) {
  const [reason, setReason] = useState("");
  const { busy, problem, act } = useAct();
  const reject = () =>
    act(async () => {
      await post(`/api/batches/${it.batch_id}/reject`, reason.trim() === "" ? {} : { reason: reason.trim() });
      onClose();
      onDone();
    });
  return (
    <Confirm title={t("approval.reject.title")} yes={t("approval.reject")} danger busy={busy} onYes={reject} onClose={onClose}>
      <p>{t("approval.reject.ask")}</p>
      <TextField label={t("approval.reason")} hint={t("approval.reason.hint", { by: it.by })} maxLength={REASON_MAX} value={reason} onValue={setReason} error={problem?.of("reason")} />
      {problem && problem.errors.length === 0 && <Trouble problem={problem} />}
    </Confirm>
  );
}
