// Which page is shown, and to whom?
import { useEffect, useState } from "preact/hooks";
import type { ComponentType } from "preact";
import { SignIn } from "./account/sign_in";
import { NewBatch } from "./batches/begin";
import { Batches } from "./batches/list";
import { ShowBatch } from "./batches/show";
import { Create } from "./environments/create";
import { Environments } from "./environments/list";
import { Show } from "./environments/show";
import { Events } from "./events/page";
import { GrantsPage } from "./grants/page";
import { language, t } from "./i18n/words";
import type { Key } from "./i18n/words";
import { Keys } from "./keys/page";
import { Nothing, Trouble, Waiting } from "./parts/notice";
import { Toasts } from "./parts/toast";
import { asProblem } from "./problem";
import type { Problem } from "./problem";
import { Relays } from "./relays/list";
import { NewRelay } from "./relays/register";
import { go, path, under } from "./router";
import { Schedules } from "./schedules/list";
import { me, resume } from "./session";
import { NewServer } from "./servers/form";
import { Servers } from "./servers/list";
import { ShowServer } from "./servers/show";
import { Shell } from "./shell";
import type { Where } from "./terminal/connection";

export function App() {
  const [problem, setProblem] = useState<Problem>();
  const ask = () => {
    setProblem(undefined);
    resume().catch((error) => {
      const why = asProblem(error);
      // no session is no trouble: the sign-in page follows
      if (why.code !== "unauthorized") setProblem(why);
    });
  };
  useEffect(ask, []);
  return (
    <>
      {problem ? <Trouble problem={problem} again={ask} /> : me.value === undefined ? <Waiting /> : me.value === null ? <SignIn /> : <Inside />}
      <Toasts />
      <Title />
    </>
  );
}

function Inside() {
  const terminal = under("/terminal/");
  if (terminal !== null) return <Terminal where={terminal.startsWith("srv-") ? { server: terminal } : { environment: terminal }} key={terminal} />;
  const share = under("/shares/");
  if (share !== null) return <Terminal where={{ share }} key={share} />;
  return (
    <Shell>
      <Place />
    </Shell>
  );
}

function Place() {
  const id = under("/environments/");
  const elsewhere = path.value === "/" || path.value === "/sign-in";
  useEffect(() => {
    if (elsewhere) go("/environments", true);
  }, [elsewhere]);
  if (elsewhere || path.value === "/environments") return <Environments />;
  if (id === "new") return <Create />;
  if (id !== null) return <Show id={id} key={id} />;
  const server = under("/servers/");
  if (path.value === "/servers") return <Servers />;
  if (server === "new") return <NewServer />;
  if (server === "grants") return <GrantsPage />;
  if (server !== null) return <ShowServer id={server} key={server} />;
  if (path.value === "/relays") return <Relays />;
  if (path.value === "/relays/new") return <NewRelay />;
  const batch = under("/batches/");
  if (path.value === "/batches") return <Batches />;
  if (batch === "new") return <NewBatch />;
  if (batch !== null) return <ShowBatch id={batch} key={batch} />;
  if (path.value === "/schedules") return <Schedules />;
  if (path.value === "/keys") return <Keys />;
  if (path.value === "/events") return <Events />;
  return (
    <main id="main">
      <Nothing icon="search" title={t("nowhere")} />
    </main>
  );
}

/** The terminal is large; it comes when it is wanted. */
function Terminal({ where }: { where: Where }) {
  const [Page, setPage] = useState<ComponentType<{ where: Where }>>();
  useEffect(() => {
    void import("./terminal/page").then((module) => setPage(() => module.TerminalPage));
  }, []);
  return Page ? <Page where={where} /> : <Waiting />;
}

const NAMES: Record<string, Key> = {
  "/environments": "environments",
  "/environments/new": "environments.new",
  "/servers": "servers",
  "/servers/new": "servers.new",
  "/servers/grants": "grants",
  "/relays": "relays",
  "/relays/new": "relays.new",
  "/batches": "batches",
  "/batches/new": "batches.new",
  "/schedules": "schedules",
  "/keys": "keys",
  "/events": "events",
};

function nameOf(page: string): string | undefined {
  const name = NAMES[page];
  return name && t(name);
}

function Title() {
  const name = me.value ? (nameOf(path.value) ?? under("/environments/") ?? under("/servers/") ?? under("/batches/") ?? under("/terminal/") ?? (under("/shares/") && t("terminal"))) : t("sign_in");
  useEffect(() => {
    document.title = name ? `${name} · Portreeve` : "Portreeve";
    document.documentElement.lang = language.value === "zh" ? "zh-Hans" : "en";
  }, [name, language.value]);
  return null;
}
