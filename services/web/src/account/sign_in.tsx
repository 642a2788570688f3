// Who are you? A user name with a password, or an API token; both become a session of this browser.
import { useState } from "preact/hooks";
import { useAct } from "../asked";
import { t } from "../i18n/words";
import { Button } from "../parts/button";
import { TextField } from "../parts/field";
import { Icon } from "../parts/icon";
import { Trouble } from "../parts/notice";
import { Tabs } from "../parts/tabs";
import { ended, signIn } from "../session";
import type { Proof } from "../session";
import { Preferences } from "./preferences";

export function SignIn() {
  return (
    <div class="sign-in">
      <div class="sign-in-tools">
        <Preferences />
      </div>
      <main id="main" class="panel">
        <header class="brand-large">
          <span class="mark">
            <Icon name="anchor" />
          </span>
          <h1>Portreeve</h1>
          <p class="muted">{t("sign_in.lead")}</p>
        </header>
        {ended.value && (
          <p class="notice" role="status">
            {t("sign_in.ended")}
          </p>
        )}
        <Tabs
          label={t("sign_in.how")}
          tabs={[
            { name: "password", label: t("sign_in.password"), body: () => <ByPassword /> },
            { name: "token", label: t("sign_in.token"), body: () => <ByToken /> },
          ]}
        />
      </main>
    </div>
  );
}

function useSignIn() {
  const { busy, problem, act } = useAct();
  return { busy, problem, enter: (proof: Proof) => act(() => signIn(proof)) };
}

function ByPassword() {
  const [username, setUsername] = useState("");
  const [password, setPassword] = useState("");
  const { busy, problem, enter } = useSignIn();
  return (
    <form
      class="form"
      onSubmit={(event) => {
        event.preventDefault();
        enter({ username, password });
      }}
    >
      <TextField label={t("sign_in.username")} name="username" value={username} onValue={setUsername} autocomplete="username" spellcheck={false} required />
      <TextField label={t("sign_in.password")} name="password" type="password" value={password} onValue={setPassword} autocomplete="current-password" required />
      {problem && <Trouble problem={problem} />}
      <Button kind="primary" type="submit" busy={busy}>
        {t("sign_in")}
      </Button>
    </form>
  );
}

function ByToken() {
  const [token, setToken] = useState("");
  const { busy, problem, enter } = useSignIn();
  return (
    <form
      class="form"
      onSubmit={(event) => {
        event.preventDefault();
        enter({ token: token.trim() });
      }}
    >
      <TextField label={t("sign_in.token")} name="token" type="password" value={token} onValue={setToken} autocomplete="off" placeholder="ptr_…" required hint={t("sign_in.token.hint")} />
      {problem && <Trouble problem={problem} />}
      <Button kind="primary" type="submit" busy={busy}>
        {t("sign_in")}
      </Button>
    </form>
  );
}
