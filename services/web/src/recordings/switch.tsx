// Are this tenant's terminals recorded? Everybody may know; its administrators decide.
import { useState } from "preact/hooks";
import { get, put } from "../api";
import { useAct, useAsked } from "../asked";
import { t } from "../i18n/words";
import { CheckField } from "../parts/field";
import { Trouble } from "../parts/notice";
import { say } from "../parts/toast";
import { me } from "../session";

export function Switch({ tenant }: { tenant: string }) {
  const path = `/api/tenants/${tenant}/recording`;
  const asked = useAsked(async (signal) => (await get<{ enabled: boolean }>(path, signal)).body, [path]);
  const { busy, problem, act } = useAct();
  // shown until the answer is there
  const [wanted, setWanted] = useState(false);
  // who may not know is not told
  if (!asked.value) return null;
  const { enabled } = asked.value;
  const set = (wanted: boolean) => {
    setWanted(wanted);
    act(async () => {
      await put(path, { enabled: wanted });
      asked.set(() => ({ enabled: wanted }));
      say(t(wanted ? "recording.on" : "recording.off"));
    });
  };
  if (me.value?.role !== "admin") return <p class="hint recording-state">{t(enabled ? "recording.on" : "recording.off")}</p>;
  return (
    <div class="recording-state" aria-busy={busy}>
      <CheckField label={t("recording.switch")} hint={t("recording.switch.hint")} checked={busy ? wanted : enabled} onChecked={set} />
      {problem && <Trouble problem={problem} />}
    </div>
  );
}
