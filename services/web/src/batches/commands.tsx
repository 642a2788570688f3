// What became of it on each server? A row each, which opens to what was said.
import { useId, useState } from "preact/hooks";
import { t } from "../i18n/words";
import { useListed } from "../listed";
import { More } from "../parts/more";
import { Nothing, Unanswered } from "../parts/notice";
import { Ago } from "../parts/time";
import { classText } from "../problem";
import { now, span } from "../shown";
import { CommandBadge } from "./badge";
import { commandsPath, isSibling, partsOf } from "./batch";
import type { Command, Standing, WholeBatch } from "./batch";
import { useNames } from "./names";
import type { NameOf } from "./names";
import { Said } from "./said";

export function Commands({ batch, sifted }: { batch: WholeBatch; sifted: Standing | "all" }) {
  const [path, parts] = [commandsPath(batch.batch_id), partsOf(sifted)];
  const asked = useListed<Command>(path, parts, (event) => event.kind === "command" && batch.commands.some((each) => isSibling(event.aggregateid, each)));
  const items = asked.value?.items ?? [];
  const nameOf = useNames(items);
  return (
    <>
      <Unanswered asked={asked} />
      {asked.value && items.length === 0 && <Nothing icon="search" title={t("batch.unmatched")} />}
      {items.length > 0 && <Table items={items} nameOf={nameOf} />}
      <More asked={asked} path={path} parts={parts} />
    </>
  );
}

function Table({ items, nameOf }: { items: readonly Command[]; nameOf: NameOf }) {
  return (
    <table class="rows">
      <thead>
        <tr>
          <th scope="col">{t("batch.server")}</th>
          <th scope="col">{t("status")}</th>
          <th scope="col">{t("command.exit_code")}</th>
          <th scope="col">{t("command.via")}</th>
          <th scope="col">{t("command.attempts")}</th>
          <th scope="col">{t("batch.begun")}</th>
          <th scope="col">{t("session.lasted")}</th>
        </tr>
      </thead>
      <tbody>
        {items.map((each) => (
          <Row key={each.command_id} it={each} nameOf={nameOf} />
        ))}
      </tbody>
    </table>
  );
}

function Row({ it, nameOf }: { it: Command; nameOf: NameOf }) {
  const [open, setOpen] = useState(false);
  const said = useId();
  const name = nameOf(it.server_id);
  return (
    <>
      <tr>
        <th scope="row">
          <button type="button" class="disclose" aria-expanded={open} aria-controls={open ? said : undefined} onClick={() => setOpen(!open)}>
            {name}
          </button>
          {name !== it.server_id && <code class="row-id">{it.server_id}</code>}
        </th>
        <td data-label={t("status")}>
          <div>
            <CommandBadge it={it} />
            <Why it={it} />
          </div>
        </td>
        <td data-label={t("command.exit_code")}>{it.exit_code ?? <span class="muted">–</span>}</td>
        <td data-label={t("command.via")}>{viaOf(it, nameOf)}</td>
        <td data-label={t("command.attempts")}>{it.attempts}</td>
        <td data-label={t("batch.begun")} class="nowrap">
          {it.times.dispatched_at === null ? <span class="muted">{t("not_yet")}</span> : <Ago time={it.times.dispatched_at} />}
        </td>
        <td data-label={t("session.lasted")} class="nowrap">
          {lastedOf(it)}
        </td>
      </tr>
      {open && (
        <tr class="opened" id={said}>
          <td colSpan={7}>
            <Said id={it.command_id} server={it.server_id} name={name} />
          </td>
        </tr>
      )}
    </>
  );
}

/** The class in words of the page where it has some; then what is known, and what can be done. */
function Why({ it }: { it: Command }) {
  return (
    <>
      {it.class && <span class="row-reason failed">{classText(it.class)}</span>}
      {it.reason && <span class="row-reason">{it.reason}</span>}
      {it.suggestion && (
        <span class="row-reason">
          {t("terminal.suggestion")} {it.suggestion}
        </span>
      )}
    </>
  );
}

function viaOf({ relay_id, attempts }: Command, nameOf: NameOf) {
  if (relay_id !== null) return nameOf(relay_id);
  return attempts > 0 ? t("command.direct") : <span class="muted">–</span>;
}

function lastedOf({ times: { dispatched_at, ended_at } }: Command) {
  if (dispatched_at === null) return <span class="muted">–</span>;
  const until = ended_at === null ? now.value : Date.parse(ended_at);
  return span(Math.max(0, until - Date.parse(dispatched_at)));
}
