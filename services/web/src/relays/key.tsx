// How does a relay get in? Its key, shown this once, and what `portreeve agent` is started with.
import { t } from "../i18n/words";
import { CopyFact } from "../parts/fact";
import { instant } from "../shown";
import type { RelayKey } from "./relay";

export function KeyShown({ made }: { made: RelayKey }) {
  const { proxy_id, api_key, previous_until } = made;
  const variables = `PORTREEVE_URL=${location.origin}\nPORTREEVE_PROXY_ID=${proxy_id}\nPORTREEVE_API_KEY=${api_key}`;
  return (
    <>
      <p class="notice">{t("relay.key.once")}</p>
      {previous_until && <p>{t("relay.key.previous", { time: instant(previous_until) })}</p>}
      <dl class="facts">
        <CopyFact name="proxyId" text={proxy_id} />
        <CopyFact name="apiKey" text={api_key} />
        <CopyFact name={t("relay.key.variables")} text={variables} block />
        <CopyFact name={t("relay.key.command")} text="portreeve agent" hint={t("relay.key.command.hint")} />
      </dl>
    </>
  );
}
