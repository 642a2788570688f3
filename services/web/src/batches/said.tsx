// What did a command say on one server? Its output and error output, as far as they are text and were kept.
import { fresh, get, getBlob } from "../api";
import { useAct } from "../asked";
import { useFollowed } from "../happenings";
import { t } from "../i18n/words";
import { Button } from "../parts/button";
import { Unanswered } from "../parts/notice";
import { Ago } from "../parts/time";
import { save } from "../parts/save";
import { bytes } from "../shown";
import type { Command, Outputs } from "./batch";

export function Said({ id, server, name }: { id: string; server: string; name: string }) {
  const path = `/api/commands/${id}`;
  const asked = useFollowed(
    async (signal) => (await get<Command>(fresh(path), signal)).body,
    (event) => event.kind === "command" && event.aggregateid === id,
    [path],
  );
  const it = asked.value;
  return (
    <div class="said">
      <Unanswered asked={asked} />
      {it && it.stdout === undefined && <p class="muted">{t(it.times.ended_at === null ? "said.not_yet" : "said.nothing")}</p>}
      {it && <Both it={it} of={name} path={path} file={id} />}
      {it?.late && (
        <section class="said-late">
          <h3>{t("said.late", { code: it.late.exit_code })}</h3>
          <p class="hint">
            {t("said.late.hint")} <Ago time={it.late.at} />
          </p>
          <Both it={it.late} of={name} />
        </section>
      )}
      <p>
        <a href={`/servers/${server}`}>{t("said.server")}</a>
      </p>
    </div>
  );
}

/** `path` is there where the bytes can be had, too. */
function Both({ it, of, path, file }: { it: Outputs; of: string; path?: string; file?: string }) {
  return (
    <>
      {it.truncated && <p class="notice">{t("said.truncated")}</p>}
      {(["stdout", "stderr"] as const).map((which) => {
        const text = it[which];
        if (text === undefined) return null;
        const base64 = it[`${which}_base64`];
        return <One key={which} which={which} of={of} text={text} base64={base64} total={it[`${which}_bytes`] ?? 0} path={path && `${path}/${which}`} file={`${file}.${which}`} />;
      })}
    </>
  );
}

interface Output {
  which: "stdout" | "stderr";
  of: string;
  text: string;
  base64: string | undefined;
  total: number;
  path: string | undefined;
  file: string;
}

/** Bytes that are shown here, of how many ever. */
const shownOf = ({ text, base64 }: Output) => (base64 === undefined ? new TextEncoder().encode(text).length : atob(base64).length);

function One(it: Output) {
  const { which, of, text, base64, total, path, file } = it;
  const { busy, problem, act } = useAct();
  const take = (from: string) => act(async () => save(await getBlob(from), file));
  const isText = base64 === undefined && !text.includes("\0");
  const name = t(`said.${which}`);
  const shown = shownOf(it);
  return (
    <section class="said-one">
      <header class="card-head">
        <h3>
          {name} <span class="muted">{bytes(total)}</span>
        </h3>
        {path && total > 0 && <Button kind="quiet" icon="download" label={t("said.take", { which: name, name: of })} busy={busy} onPress={() => take(path)} />}
      </header>
      {total === 0 && <p class="muted">{t("said.empty")}</p>}
      {total > 0 && !isText && <p class="notice">{t("said.binary")}</p>}
      {total > 0 && isText && (
        <pre tabIndex={0} role="region" aria-label={`${name}: ${of}`}>
          {text}
        </pre>
      )}
      {shown < total && <p class="hint">{t("said.cut", { shown: bytes(shown), all: bytes(total) })}</p>}
      {problem && (
        <p class="error" role="alert">
          {problem.title}
        </p>
      )}
    </section>
  );
}
