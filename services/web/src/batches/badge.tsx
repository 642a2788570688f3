// How is a batch, or one command of it? One word with a dot whose colour repeats it.
import type { Tone } from "../environments/environment";
import { t } from "../i18n/words";
import type { Key } from "../i18n/words";
import { TONES, standingOf } from "./batch";
import type { Batch, Command } from "./batch";

function Badge({ tone, word, name }: { tone: Tone; word: Key; name: string }) {
  return (
    <span class={`badge ${tone}`} data-status={name}>
      <span class="dot" aria-hidden="true" />
      {t(word)}
    </span>
  );
}

export function CommandBadge({ it }: { it: Command }) {
  return <Badge tone={TONES[standingOf(it)]} word={`command.${it.status}`} name={it.status} />;
}

export function BatchBadge({ it }: { it: Batch }) {
  const { status, approval, cancelled_at, stopped_at, counts, servers } = it;
  if (status === "awaiting_approval") return <Badge tone="still" word="batch.awaiting" name="awaiting_approval" />;
  if (status === "running") return <Badge tone="busy" word={cancelled_at === null ? "batch.running" : "batch.stopping"} name="running" />;
  if (approval?.answer === "rejected") return <Badge tone="bad" word="approval.rejected" name="rejected" />;
  if (approval?.answer === "expired") return <Badge tone="bad" word="approval.expired" name="expired" />;
  if (stopped_at !== null) return <Badge tone="bad" word="batch.stopped" name="stopped" />;
  if (cancelled_at !== null) return <Badge tone="still" word="batch.cancelled" name="cancelled" />;
  const isGood = counts.completed - counts.completed_nonzero === servers;
  return <Badge tone={isGood ? "good" : "bad"} word={isGood ? "batch.good" : "batch.bad"} name={isGood ? "good" : "bad"} />;
}
