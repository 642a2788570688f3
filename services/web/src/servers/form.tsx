// What is said of a server? One form, to register it and to change it; a secret that is kept is not shown.
import { useState } from "preact/hooks";
import { patch, post } from "../api";
import { useAct, useOnce } from "../asked";
import { t } from "../i18n/words";
import { labelsFrom, labelsOf, wordsOf } from "../labels";
import { Button, LinkButton } from "../parts/button";
import { AreaField, CheckField, SelectField, TextField } from "../parts/field";
import { Trouble } from "../parts/notice";
import { say } from "../parts/toast";
import { go } from "../router";
import type { Saved, Server } from "./server";

/** `kept`: what is stored stays. */
type Method = "kept" | "password" | "private_key" | "certificate";

export function ServerForm({ it, onSaved }: { it?: Server; onSaved?(saved: Saved): void }) {
  const [name, setName] = useState(it?.name ?? "");
  const [host, setHost] = useState(it?.host ?? "");
  const [port, setPort] = useState(String(it?.port ?? 22));
  const [username, setUsername] = useState(it?.username ?? "");
  const [method, setMethod] = useState<Method>(it ? "kept" : "password");
  const [secret, setSecret] = useState("");
  const [passphrase, setPassphrase] = useState("");
  const [zone, setZone] = useState(it?.zone ?? "");
  const [groups, setGroups] = useState(it?.groups.join(" ") ?? "");
  const [labels, setLabels] = useState(it ? labelsOf(it).join(" ") : "");
  const [test, setTest] = useState(true);
  const once = useOnce();
  const { busy, problem, act } = useAct();
  const save = () =>
    act(async () => {
      const body = {
        name: name.trim(),
        host: host.trim(),
        port: Number(port),
        username: username.trim(),
        ...(method === "password" ? { password: secret } : {}),
        ...(method === "private_key" ? { private_key: secret, ...(passphrase === "" ? {} : { passphrase }) } : {}),
        ...(method === "certificate" ? { certificate: true } : {}),
        zone: zone.trim() === "" ? null : zone.trim(),
        groups: wordsOf(groups),
        labels: labelsFrom(labels),
        test,
      };
      const saved = await once((key) => (it ? patch<Saved>(`/api/servers/${it.server_id}`, body, key) : post<Saved>("/api/servers", body, key)));
      setSecret("");
      setPassphrase("");
      if (it) {
        setMethod("kept");
        say(t("server.saved"));
      } else go(`/servers/${saved.body.server_id}`);
      onSaved?.(saved.body);
    });
  const methods: Method[] = it ? ["kept", "password", "private_key", "certificate"] : ["password", "private_key", "certificate"];
  const isMissing = (method === "password" || method === "private_key") && secret === "";
  return (
    <form
      class={it ? "form narrow-form" : "panel form"}
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        save();
      }}
    >
      <TextField label={t("name")} name="name" value={name} onValue={setName} required autofocus={!it} autocomplete="off" spellcheck={false} maxLength={63} error={problem?.of("name")} />
      <div class="field-row">
        <TextField label={t("server.host")} name="host" value={host} onValue={setHost} required autocomplete="off" spellcheck={false} placeholder="web1.example.org" error={problem?.of("host")} />
        <TextField label={t("server.port")} name="port" type="number" inputMode="numeric" min="1" step="1" value={port} onValue={setPort} error={problem?.of("port")} />
      </div>
      <TextField label={t("server.username")} name="username" value={username} onValue={setUsername} required autocomplete="off" spellcheck={false} hint={t("server.username.hint")} error={problem?.of("username")} />
      <SelectField label={t("server.method")} value={method} onValue={(chosen) => setMethod(chosen as Method)} options={methods.map((each) => [each, t(`server.method.${each}`)] as const)} />
      {method === "password" && <TextField label={t("server.password")} type="password" value={secret} onValue={setSecret} autocomplete="off" hint={t("server.secret.hint")} error={problem?.of("password")} />}
      {method === "private_key" && (
        <>
          <AreaField label={t("server.private_key")} rows={5} value={secret} onValue={setSecret} placeholder="-----BEGIN OPENSSH PRIVATE KEY-----" hint={t("server.secret.hint")} error={problem?.of("private_key")} />
          <TextField label={t("server.passphrase")} type="password" value={passphrase} onValue={setPassphrase} autocomplete="off" error={problem?.of("passphrase")} />
        </>
      )}
      {method === "certificate" && <p class="hint">{t("server.certificate.hint")}</p>}
      <div class="field-row">
        <TextField label={t("server.zone")} value={zone} onValue={setZone} autocomplete="off" spellcheck={false} error={problem?.of("zone")} />
        <TextField label={t("server.groups")} value={groups} onValue={setGroups} autocomplete="off" spellcheck={false} placeholder="web db" error={problem?.of("groups")} />
        <TextField label={t("server.labels")} value={labels} onValue={setLabels} autocomplete="off" spellcheck={false} placeholder="env=prod" error={problem?.of("labels")} />
      </div>
      <CheckField label={t("server.test.on_save")} checked={test} onChecked={setTest} />
      {problem && <Trouble problem={problem} />}
      <footer class="actions">
        {!it && <LinkButton to="/servers">{t("cancel")}</LinkButton>}
        <Button kind="primary" type="submit" busy={busy} disabled={name.trim() === "" || host.trim() === "" || username.trim() === "" || isMissing}>
          {t(it ? "save" : "server.register")}
        </Button>
      </footer>
    </form>
  );
}

export function NewServer() {
  return (
    <main id="main" class="narrow">
      <header class="page-head">
        <h1>{t("servers.new")}</h1>
      </header>
      <ServerForm />
    </main>
  );
}
