// What is an account on a server to be? A form that pushes it, one for other keys, and the question before it goes.
import { useState } from "preact/hooks";
import { useAct } from "../asked";
import { t } from "../i18n/words";
import { Button } from "../parts/button";
import { Confirm, Dialog } from "../parts/dialog";
import { AreaField, CheckField, SelectField, TextField } from "../parts/field";
import { Trouble } from "../parts/notice";
import { push, remove, rotate } from "./account";
import type { Account, Change, Wish } from "./account";

const KEY = "ssh-ed25519 AAAA… alice@laptop";
const SUDO = ["kept", "yes", "no"] as const;

interface Asked {
  server: string;
  onDone(change: Change): void;
  onClose(): void;
}

export function Push({ server, onDone, onClose }: Asked) {
  const [wish, setWish] = useState<Wish>({ account: "", keys: "", groups: "", shell: "", sudo: "kept" });
  const { busy, problem, act } = useAct();
  const set = (part: Partial<Wish>) => setWish({ ...wish, ...part });
  const save = () =>
    act(async () => {
      onDone(await push(server, wish));
      onClose();
    });
  return (
    <Dialog title={t("account.push")} onClose={onClose}>
      <form
        class="form"
        noValidate
        onSubmit={(event) => {
          event.preventDefault();
          save();
        }}
      >
        <p class="muted">{t("account.push.lead")}</p>
        <TextField label={t("account")} value={wish.account} onValue={(account) => set({ account })} autocomplete="off" spellcheck={false} placeholder="alice" error={problem?.of("account")} />
        <AreaField label={t("account.keys")} value={wish.keys} onValue={(keys) => set({ keys })} placeholder={KEY} hint={t("account.keys.hint")} error={problem?.of("public_keys")} />
        <div class="field-row">
          <TextField label={t("account.groups")} value={wish.groups} onValue={(groups) => set({ groups })} autocomplete="off" spellcheck={false} placeholder="docker" error={problem?.of("groups")} />
          <TextField label={t("account.shell")} value={wish.shell} onValue={(shell) => set({ shell })} autocomplete="off" spellcheck={false} placeholder="/bin/bash" error={problem?.of("shell")} />
        </div>
        <SelectField label={t("account.sudo")} value={wish.sudo} onValue={(sudo) => set({ sudo: sudo as Wish["sudo"] })} options={SUDO.map((each) => [each, t(`account.sudo.${each}`)] as const)} />
        {problem && problem.errors.length === 0 && <Trouble problem={problem} />}
        <footer class="actions">
          <Button onPress={onClose}>{t("cancel")}</Button>
          <Button kind="primary" type="submit" busy={busy} disabled={wish.account.trim() === "" || wish.keys.trim() === ""}>
            {t("account.push.yes")}
          </Button>
        </footer>
      </form>
    </Dialog>
  );
}

export function Rotate({ server, it, onDone, onClose }: Asked & { it: Account }) {
  const [keys, setKeys] = useState("");
  const { busy, problem, act } = useAct();
  const save = () =>
    act(async () => {
      onDone(await rotate(server, it.account, keys));
      onClose();
    });
  return (
    <Dialog title={t("account.rotate", { name: it.account })} onClose={onClose}>
      <form
        class="form"
        noValidate
        onSubmit={(event) => {
          event.preventDefault();
          save();
        }}
      >
        <p class="muted">{t("account.rotate.lead")}</p>
        <AreaField label={t("account.keys")} value={keys} onValue={setKeys} placeholder={KEY} hint={t("account.keys.hint")} error={problem?.of("public_keys")} />
        {problem && problem.errors.length === 0 && <Trouble problem={problem} />}
        <footer class="actions">
          <Button onPress={onClose}>{t("cancel")}</Button>
          <Button kind="primary" type="submit" icon="key" busy={busy} disabled={keys.trim() === ""}>
            {t("account.rotate.yes")}
          </Button>
        </footer>
      </form>
    </Dialog>
  );
}

export function Remove({ server, it, onDone, onClose }: Asked & { it: Account }) {
  const [home, setHome] = useState(false);
  const { busy, problem, act } = useAct();
  const yes = () =>
    act(async () => {
      onDone(await remove(server, it.account, home));
      onClose();
    });
  return (
    <Confirm title={t("account.remove", { name: it.account })} yes={t("remove")} danger busy={busy} onYes={yes} onClose={onClose}>
      <p>{t(it.ours ? "account.remove.ask.ours" : "account.remove.ask")}</p>
      {it.ours && <CheckField label={t("account.remove.home")} checked={home} onChecked={setHome} />}
      {problem && <Trouble problem={problem} />}
    </Confirm>
  );
}
