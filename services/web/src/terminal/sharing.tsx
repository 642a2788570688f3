// Who else may see this shell, or type in it? Links that its person hands out and takes back.
import { useEffect, useState } from "preact/hooks";
import { del, get, post } from "../api";
import { useAct, useAsked } from "../asked";
import { t } from "../i18n/words";
import { Button } from "../parts/button";
import { Copy } from "../parts/copy";
import { Dialog } from "../parts/dialog";
import { SelectField } from "../parts/field";
import { Trouble, Waiting } from "../parts/notice";
import { Ago } from "../parts/time";
import type { Person } from "./protocol";

interface Share {
  share_id: string;
  mode: "view" | "write";
  expires_at: string;
  people: string[];
}

/** Seconds for which a link opens. */
const LIVES_S = [3_600, 28_800, 86_400] as const;

const linkOf = (share: Share) => `${location.origin}/shares/${share.share_id}`;

export function Sharing({ session, people, onClose }: { session: string; people: Person[]; onClose(): void }) {
  const path = `/api/terminals/${session}/shares`;
  const asked = useAsked(async (signal) => (await get<{ items: Share[] }>(path, signal)).body.items, [path]);
  const { busy, problem, act } = useAct();
  const [mode, setMode] = useState<Share["mode"]>("view");
  const [life_s, setLife] = useState<number>(LIVES_S[0]);
  // who is here changed: so did whom the links brought
  useEffect(asked.again, [people]);
  const begin = () =>
    act(async () => {
      await post(path, { mode, expires_in_s: life_s });
      asked.again();
    });
  const end = (share: Share) =>
    act(async () => {
      await del(`${path}/${share.share_id}`);
      asked.again();
    });
  return (
    <Dialog title={t("share.title")} onClose={onClose}>
      <p class="hint">{t("share.hint")}</p>
      <form
        class="share-form"
        onSubmit={(event) => {
          event.preventDefault();
          begin();
        }}
      >
        <SelectField
          label={t("share.mode")}
          value={mode}
          onValue={(chosen) => setMode(chosen === "write" ? "write" : "view")}
          options={[
            ["view", t("share.mode.view")],
            ["write", t("share.mode.write")],
          ]}
        />
        <SelectField label={t("share.life")} value={String(life_s)} onValue={(chosen) => setLife(Number(chosen))} options={LIVES_S.map((s) => [String(s), t(`share.life.${s}`)] as const)} />
        <Button kind="primary" type="submit" busy={busy}>
          {t("share.begin")}
        </Button>
      </form>
      {mode === "write" && <p class="hint">{t("share.mode.write.hint")}</p>}
      {problem && <Trouble problem={problem} />}
      {asked.problem && !asked.value && <Trouble problem={asked.problem} again={asked.again} />}
      {!asked.value && !asked.problem && <Waiting />}
      {asked.value && asked.value.length > 0 && (
        <ul class="shares">
          {asked.value.map((share) => (
            <li key={share.share_id}>
              <span class="with-copy">
                <code class="breaks">{linkOf(share)}</code>
                <Copy text={linkOf(share)} what={t("share.link")} />
              </span>
              <span class="share-facts">
                <span class={`badge ${share.mode === "write" ? "busy" : "still"}`}>{t(`share.mode.${share.mode}`)}</span>
                <span class="muted">
                  {t("share.ends")} <Ago time={share.expires_at} />
                </span>
                <span>{share.people.length === 0 ? <span class="muted">{t("share.nobody")}</span> : share.people.join(", ")}</span>
                <Button kind="danger" busy={busy} onPress={() => end(share)}>
                  {t("share.end")}
                </Button>
              </span>
            </li>
          ))}
        </ul>
      )}
    </Dialog>
  );
}
