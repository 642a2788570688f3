// One server: does one get in, is it still the same machine, and what is said of it?
import { useState } from "preact/hooks";
import { del, fresh, get, post } from "../api";
import { useAct } from "../asked";
import { seesGrants } from "../grants/grant";
import { WhoMay } from "../grants/who_may";
import { useFollowed, useHappenings } from "../happenings";
import { t } from "../i18n/words";
import { labelsOf } from "../labels";
import { Button, LinkButton } from "../parts/button";
import { Confirm } from "../parts/dialog";
import { Fact } from "../parts/fact";
import { Trouble, Unanswered } from "../parts/notice";
import { Tabs } from "../parts/tabs";
import { say } from "../parts/toast";
import { go } from "../router";
import type { Event } from "../sse";
import type { Change } from "./account";
import { Accounts } from "./accounts";
import { Badge } from "./badge";
import { Doctor } from "./doctor";
import type { Diagnosis } from "./doctor";
import { ServerFacts } from "./facts";
import { ServerForm } from "./form";
import { Outcome } from "./outcome";
import { concerns, isGone, keepsServers, placeOf } from "./server";
import type { Server, Test } from "./server";

export function ShowServer({ id }: { id: string }) {
  const asked = useFollowed(
    async (signal) => (await get<Server>(fresh(`/api/servers/${id}`), signal)).body,
    (event) => concerns(id)(event) || event.kind === "access",
    [id],
  );
  const it = asked.value;
  const onEvent = (event: Event) => {
    if (isGone(id, event)) leave(it?.name ?? id);
  };
  useHappenings({ onEvent }, [id, it?.name]);
  return (
    <main id="main">
      <Unanswered asked={asked} />
      {it && <Known it={it} again={asked.again} />}
    </main>
  );
}

/** Whoever removed it. */
function leave(name: string) {
  say(t("server.removed", { name }));
  go("/servers");
}

function Known({ it, again }: { it: Server; again(): void }) {
  const testing = useAct();
  const [removing, setRemoving] = useState(false);
  // what was answered stays while one looks at the other parts
  const [unasked, setUnasked] = useState<Test>();
  const [found, setFound] = useState<Diagnosis>();
  const [changed, setChanged] = useState<Change>();
  const mayTest = it.may.includes("terminal") || it.may.includes("command");
  const test = () =>
    testing.act(async () => {
      await post<Test>(`/api/servers/${it.server_id}/test`);
      again();
    });
  const views = [
    {
      name: "change",
      label: t("server.change"),
      isThere: keepsServers(),
      body: () => (
        <section class="panel">
          <ServerForm it={it} onSaved={again} />
        </section>
      ),
    },
    { name: "grants", label: t("grants.who_may"), isThere: seesGrants(), body: () => <WhoMay it={it} /> },
    { name: "facts", label: t("facts"), isThere: it.may.includes("facts"), body: () => <ServerFacts it={it} failed={unasked} onAsked={setUnasked} /> },
    { name: "accounts", label: t("accounts"), isThere: seesGrants(), body: () => <Accounts it={it} changed={changed} onChanged={setChanged} /> },
    { name: "doctor", label: t("doctor"), isThere: keepsServers(), body: () => <Doctor it={it} found={found} onFound={setFound} /> },
  ].filter(({ isThere }) => isThere);
  return (
    <>
      <header class="page-head">
        <div>
          <h1>{it.name}</h1>
          <p class="lead">
            <Badge server={it} /> <code>{placeOf(it)}</code>
          </p>
        </div>
        <div class="page-tools">
          {mayTest && (
            <Button icon="reset" busy={testing.busy} onPress={test}>
              {t("server.test")}
            </Button>
          )}
          {it.may.includes("terminal") && (
            <LinkButton kind="primary" icon="terminal" to={`/terminal/${it.server_id}`}>
              {t("terminal")}
            </LinkButton>
          )}
          {keepsServers() && <Button kind="quiet" icon="delete" label={t("server.remove", { name: it.name })} onPress={() => setRemoving(true)} />}
        </div>
      </header>
      {testing.problem && <Trouble problem={testing.problem} />}
      {it.test && <Outcome test={it.test} />}
      {it.host_key_seen_fingerprint && <ChangedKey it={it} seen={it.host_key_seen_fingerprint} again={again} />}
      <section class="panel">
        <h2>{t("server.known")}</h2>
        <dl class="facts">
          <Fact name={t("server.host_key")}>{it.host_key_fingerprint}</Fact>
          <Fact name={t("server.method")}>{t(`server.method.${it.method}`)}</Fact>
          <Fact name={t("server.zone")}>{it.zone}</Fact>
          <Fact name={t("server.groups")}>{it.groups.join(", ") || null}</Fact>
          <Fact name={t("server.labels")}>{labelsOf(it).join(", ") || null}</Fact>
          <Fact name={t("server.may")}>{it.may.map((right) => t(`server.may.${right}`)).join(", ")}</Fact>
        </dl>
      </section>
      {views.length > 0 && <Tabs label={t("server.views")} tabs={views} />}
      {removing && <Remove it={it} onClose={() => setRemoving(false)} />}
    </>
  );
}

/** Nobody gets in until somebody compared the two and says that the new one is right. */
function ChangedKey({ it, seen, again }: { it: Server; seen: string; again(): void }) {
  const [asking, setAsking] = useState(false);
  const { busy, problem, act } = useAct();
  const accept = () =>
    act(async () => {
      await post(`/api/servers/${it.server_id}/accept-host-key`, { fingerprint: seen });
      setAsking(false);
      say(t("server.host_key.accepted"));
      again();
    });
  return (
    <section class="panel" data-host-key="changed">
      <h2>{t("server.host_key.changed")}</h2>
      <p>{t("server.host_key.changed.hint")}</p>
      <dl class="facts">
        <Fact name={t("server.host_key.believed")}>{it.host_key_fingerprint}</Fact>
        <Fact name={t("server.host_key.seen")}>{seen}</Fact>
      </dl>
      {keepsServers() && (
        <footer class="actions">
          <Button kind="danger" onPress={() => setAsking(true)}>
            {t("server.host_key.accept")}
          </Button>
        </footer>
      )}
      {asking && (
        <Confirm title={t("server.host_key.accept")} yes={t("server.host_key.accept")} danger busy={busy} onYes={accept} onClose={() => setAsking(false)}>
          <p>{t("server.host_key.accept.ask")}</p>
          <p>
            <code class="breaks">{seen}</code>
          </p>
          {problem && <Trouble problem={problem} />}
        </Confirm>
      )}
    </section>
  );
}

function Remove({ it, onClose }: { it: Server; onClose(): void }) {
  const { busy, problem, act } = useAct();
  const remove = () =>
    act(async () => {
      await del(`/api/servers/${it.server_id}`);
      leave(it.name);
    });
  return (
    <Confirm title={t("server.remove", { name: it.name })} yes={t("remove")} danger busy={busy} onYes={remove} onClose={onClose}>
      <p>{t("server.remove.ask")}</p>
      {problem && <Trouble problem={problem} />}
    </Confirm>
  );
}
