// Which relay may dial out to us? A form, and then its key.
import { useState } from "preact/hooks";
import { post } from "../api";
import { useAct, useOnce } from "../asked";
import { t } from "../i18n/words";
import { labelsFrom, wordsOf } from "../labels";
import { Button, LinkButton } from "../parts/button";
import { TextField } from "../parts/field";
import { Trouble } from "../parts/notice";
import { KeyShown } from "./key";
import type { RelayKey } from "./relay";

const IN_FLIGHT_MAX = 32;

export function NewRelay() {
  const [made, setMade] = useState<RelayKey>();
  return (
    <main id="main" class="narrow">
      <header class="page-head">
        <h1>{t(made ? "relay.registered" : "relays.new")}</h1>
      </header>
      {made ? (
        <section class="panel form" aria-label={t("relay.registered")}>
          <KeyShown made={made} />
          <footer class="actions">
            <LinkButton kind="primary" to="/relays">
              {t("relay.key.taken")}
            </LinkButton>
          </footer>
        </section>
      ) : (
        <RelayForm onMade={setMade} />
      )}
    </main>
  );
}

function RelayForm({ onMade }: { onMade(made: RelayKey): void }) {
  const [name, setName] = useState("");
  const [zone, setZone] = useState("");
  const [labels, setLabels] = useState("");
  const [addresses, setAddresses] = useState("");
  const [inFlight, setInFlight] = useState(String(IN_FLIGHT_MAX));
  const { busy, problem, act } = useAct();
  const once = useOnce();
  const register = () =>
    act(async () => {
      const body = {
        name: name.trim(),
        zone: zone.trim() === "" ? null : zone.trim(),
        labels: labelsFrom(labels),
        addresses: wordsOf(addresses),
        in_flight_max: Number(inFlight),
      };
      onMade((await once((key) => post<RelayKey>("/api/relays", body, key))).body);
    });
  return (
    <form
      class="panel form"
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        register();
      }}
    >
      <TextField label={t("name")} name="name" value={name} onValue={setName} required autofocus autocomplete="off" spellcheck={false} maxLength={63} error={problem?.of("name")} />
      <div class="field-row">
        <TextField label={t("server.zone")} value={zone} onValue={setZone} autocomplete="off" spellcheck={false} placeholder="dmz" error={problem?.of("zone")} />
        <TextField label={t("server.labels")} value={labels} onValue={setLabels} autocomplete="off" spellcheck={false} placeholder="env=prod" error={problem?.of("labels")} />
      </div>
      <p class="hint">{t("relay.serves.hint")}</p>
      <TextField label={t("relay.addresses")} value={addresses} onValue={setAddresses} autocomplete="off" spellcheck={false} placeholder="203.0.113.0/24" hint={t("relay.addresses.hint")} error={problem?.of("addresses")} />
      <TextField label={t("relay.in_flight")} type="number" inputMode="numeric" min="1" step="1" value={inFlight} onValue={setInFlight} error={problem?.of("in_flight_max")} />
      {problem && <Trouble problem={problem} />}
      <footer class="actions">
        <LinkButton to="/relays">{t("cancel")}</LinkButton>
        <Button kind="primary" type="submit" busy={busy} disabled={name.trim() === ""}>
          {t("server.register")}
        </Button>
      </footer>
    </form>
  );
}
