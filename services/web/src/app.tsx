// Which page is shown, and to whom?
import { useEffect, useState } from "preact/hooks";
import type { ComponentType } from "preact";
import { SignIn } from "./account/sign_in";
import { TERMINAL } from "./built";
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
import { Shell } from "./shell";

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
  if (TERMINAL) {
    const terminal = under("/terminal/");
    if (terminal !== null) return <Terminal id={terminal} key={terminal} />;
  }
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
  if (path.value === "/keys") return <Keys />;
  if (path.value === "/events") return <Events />;
  return (
    <main id="main">
      <Nothing icon="search" title={t("nowhere")} />
    </main>
  );
}

/** The terminal is large; it comes when it is wanted. */
function Terminal({ id }: { id: string }) {
  const [Page, setPage] = useState<ComponentType<{ id: string }>>();
  useEffect(() => {
    void import("./terminal/page").then((module) => setPage(() => module.TerminalPage));
  }, []);
  return Page ? <Page id={id} /> : <Waiting />;
}

function Title() {
  const names = { "/environments": t("environments"), "/keys": t("keys"), "/events": t("events") } as Record<string, string>;
  const name = me.value ? (names[path.value] ?? under("/environments/") ?? under("/terminal/")) : t("sign_in");
  useEffect(() => {
    document.title = name ? `${name} · Portreeve` : "Portreeve";
    document.documentElement.lang = language.value === "zh" ? "zh-Hans" : "en";
  }, [name, language.value]);
  return null;
}
