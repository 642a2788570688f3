// Which page is shown, and to whom?
import { useEffect, useState } from "preact/hooks";
import type { ComponentType } from "preact";
import { SignIn } from "./account/sign_in";
import { Create } from "./environments/create";
import { Environments } from "./environments/list";
import { Show } from "./environments/show";
import { Events } from "./events/page";
import { language, t } from "./i18n/words";
import { Keys } from "./keys/page";
import { Nothing, Trouble, Waiting } from "./parts/notice";
import { Toasts } from "./parts/toast";
import { asProblem } from "./problem";
import type { Problem } from "./problem";
import { go, path, under } from "./router";
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
  if (server !== null) return <ShowServer id={server} key={server} />;
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

function Title() {
  const names = { "/environments": t("environments"), "/servers": t("servers"), "/keys": t("keys"), "/events": t("events") } as Record<string, string>;
  const name = me.value ? (names[path.value] ?? under("/environments/") ?? under("/servers/") ?? under("/terminal/") ?? (under("/shares/") && t("terminal"))) : t("sign_in");
  useEffect(() => {
    document.title = name ? `${name} · Portreeve` : "Portreeve";
    document.documentElement.lang = language.value === "zh" ? "zh-Hans" : "en";
  }, [name, language.value]);
  return null;
}
