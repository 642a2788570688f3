// How does one get in? Everything to copy, the password hidden until it is asked for.
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { get, post, query } from "../api";
import { useAct, useAsked } from "../asked";
import { t } from "../i18n/words";
import { Button, LinkButton } from "../parts/button";
import { Copy } from "../parts/copy";
import { Confirm } from "../parts/dialog";
import { CopyFact } from "../parts/fact";
import { Trouble, Waiting } from "../parts/notice";
import { say } from "../parts/toast";
import { mayWrite, me } from "../session";
import type { ConnectionInfo, Environment } from "./environment";
import { stays } from "./environment";
import { takeShown } from "./revealed";

/** As many dots, whatever the password. */
const DOTS = "•".repeat(12);

export function ConnectionCard({ environment }: { environment: Environment }) {
  const id = environment.env_id;
  const path = `/api/environments/${id}/ssh`;
  // the card itself asks without the password: showing it is an event and a person's decision
  const about = [id, environment.ssh_port, environment.status];
  const asked = useAsked(async (signal) => (await get<ConnectionInfo>(query(path, { password: "hide" }), signal)).body, about);
  const [password, setPassword] = useState<string | undefined>(() => takeShown(id));
  const reveal = async () => {
    const { body } = await get<ConnectionInfo>(path);
    setPassword(body.ssh_password ?? undefined);
    return body;
  };
  if (asked.problem && !asked.value) return <Trouble problem={asked.problem} again={asked.again} />;
  if (!asked.value) return <Waiting />;
  const info = asked.value;
  return (
    <section class="panel card" aria-labelledby="card-title">
      <header class="card-head">
        <h2 id="card-title">{t("card.title")}</h2>
        {environment.status === "running" && mayWrite() && (
          <LinkButton kind="primary" icon="terminal" to={`/terminal/${id}`}>
            {t("card.terminal")}
          </LinkButton>
        )}
      </header>
      <dl class="facts">
        <CopyFact name={t("card.ssh")} text={info.ssh_command} />
        <CopyFact name={t("card.user")} text={info.ssh_username} />
        <Password environment={environment} info={info} password={password} onPassword={setPassword} reveal={reveal} />
        <CopyFact name={t("card.gateway")} text={info.gateway_command} />
        <CopyFact name={t("card.sftp")} text={info.sftp_url} />
        {environment.jupyter && mayWrite() && <Jupyter environment={environment} />}
        <CopyFact name={t("card.vscode")} text={info.vscode_config} block hint={t("card.vscode.hint")} />
      </dl>
    </section>
  );
}

interface PasswordOf {
  environment: Environment;
  info: ConnectionInfo;
  password: string | undefined;
  onPassword(password: string | undefined): void;
  reveal(): Promise<ConnectionInfo>;
}

function Password({ environment, info, password, onPassword, reveal }: PasswordOf) {
  const { busy, problem, act } = useAct();
  const [asking, setAsking] = useState(false);
  const resetting = useAct();
  const reset = () =>
    resetting.act(async () => {
      const { body } = await post<{ ssh_password: string }>(`/api/environments/${environment.env_id}/reset-password`);
      onPassword(body.ssh_password);
      setAsking(false);
      say(t("card.password.reset.done"));
    });
  const name = t("card.password");
  const maySee = me.value?.role !== "auditor";
  let value: ComponentChildren;
  if (!info.has_password && password === undefined) value = <span class="muted">{t("not_yet")}</span>;
  else if (!maySee) value = <span class="muted">{t("card.password.auditor")}</span>;
  else
    value = (
      <span class="with-copy">
        <code class="secret" data-shown={password !== undefined}>
          {password ?? <span aria-label={t("card.password.hidden")}>{DOTS}</span>}
        </code>
        {password === undefined ? (
          <Button kind="quiet" icon="eye" label={t("card.password.reveal")} busy={busy} onPress={() => act(async () => void (await reveal()))} />
        ) : (
          <>
            <Button kind="quiet" icon="hide" label={t("card.password.hide")} onPress={() => onPassword(undefined)} />
            <Copy text={password} what={name} />
          </>
        )}
      </span>
    );
  return (
    <div class="fact">
      <dt>{name}</dt>
      <dd>
        {value}
        {mayWrite() && stays(environment.status) && info.has_password && (
          <Button kind="plain" icon="reset" onPress={() => setAsking(true)}>
            {t("card.password.reset")}
          </Button>
        )}
        {problem && <p class="error">{problem.title}</p>}
        {asking && (
          <Confirm title={t("card.password.reset.title")} yes={t("card.password.reset")} busy={resetting.busy} onYes={reset} onClose={() => setAsking(false)}>
            <p>{t("card.password.reset.ask")}</p>
            {resetting.problem && <Trouble problem={resetting.problem} />}
          </Confirm>
        )}
      </dd>
    </div>
  );
}

/** Through our own sign-in: a link for one use, and no token of the notebooks. */
function Jupyter({ environment }: { environment: Environment }) {
  const { busy, problem, act } = useAct();
  const [link, setLink] = useState<string | null>(null);
  const ask = () =>
    act(async () => {
      const { body } = await post<{ url: string }>(`/api/environments/${environment.env_id}/jupyter-links`);
      setLink(body.url);
      open(body.url, "_blank", "noopener,noreferrer");
    });
  return (
    <div class="fact block">
      <dt>JupyterLab</dt>
      <dd>
        <Button icon="external" busy={busy} disabled={environment.status !== "running"} onPress={ask}>
          {t("card.jupyter.open")}
        </Button>
        <p class="hint">
          {link === null ? (
            t("card.jupyter.hint")
          ) : (
            <>
              {t("card.jupyter.blocked")}{" "}
              <a href={link} target="_blank" rel="noopener noreferrer" onClick={() => setLink(null)}>
                {t("card.jupyter.open")}
              </a>
            </>
          )}
        </p>
        {problem && <p class="error" role="alert">{problem.title}</p>}
      </dd>
    </div>
  );
}
