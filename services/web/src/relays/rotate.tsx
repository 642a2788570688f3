// How does a relay get another key? The one before counts a while longer, so that nothing stops.
import { useState } from "preact/hooks";
import { post } from "../api";
import { useAct } from "../asked";
import { t } from "../i18n/words";
import { Button } from "../parts/button";
import { Dialog } from "../parts/dialog";
import { SelectField } from "../parts/field";
import { Trouble } from "../parts/notice";
import { KeyShown } from "./key";
import type { Relay, RelayKey } from "./relay";

const OVERLAPS_S = ["0", "3600", "86400", "604800", "2592000"] as const;

export function Rotate({ it, onClose }: { it: Relay; onClose(): void }) {
  const [overlap, setOverlap] = useState<(typeof OVERLAPS_S)[number]>("86400");
  const [made, setMade] = useState<RelayKey>();
  const { busy, problem, act } = useAct();
  const rotate = () => act(async () => setMade((await post<RelayKey>(`/api/relays/${it.relay_id}/rotate-key`, { overlap_s: Number(overlap) })).body));
  return (
    <Dialog title={t("relay.rotate", { name: it.name })} onClose={onClose}>
      {made ? (
        <KeyShown made={made} />
      ) : (
        <>
          <p>{t("relay.rotate.ask")}</p>
          <SelectField label={t("relay.overlap")} value={overlap} onValue={(value) => setOverlap(value as typeof overlap)} options={OVERLAPS_S.map((each) => [each, t(`relay.overlap.${each}`)] as const)} />
        </>
      )}
      {problem && <Trouble problem={problem} />}
      <footer class="actions">
        {made ? (
          <Button kind="primary" onPress={onClose}>
            {t("relay.key.taken")}
          </Button>
        ) : (
          <>
            <Button onPress={onClose}>{t("cancel")}</Button>
            <Button kind="primary" icon="key" busy={busy} onPress={rotate}>
              {t("relay.rotate.yes")}
            </Button>
          </>
        )}
      </footer>
    </Dialog>
  );
}
