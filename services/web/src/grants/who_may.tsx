// Who may use this server? What is granted on itself, and what holds because of its zone, groups and labels.
import { useState } from "preact/hooks";
import { fresh, get } from "../api";
import { useFollowed } from "../happenings";
import { t } from "../i18n/words";
import { Button } from "../parts/button";
import { Nothing, Unanswered } from "../parts/notice";
import { say } from "../parts/toast";
import { keepsServers } from "../servers/server";
import type { Server } from "../servers/server";
import { GrantForm } from "./form";
import { grantsAround, placeText } from "./grant";
import type { Grants } from "./grant";
import { GrantRows } from "./rows";

export function WhoMay({ it }: { it: Server }) {
  const [adding, setAdding] = useState(false);
  const asked = useFollowed(
    async (signal) => {
      const [own, around] = await Promise.all([get<Grants>(fresh(`/api/servers/${it.server_id}/grants`), signal), grantsAround(it, signal)]);
      return { own: own.body.grants, around };
    },
    (event) => event.kind === "access",
    [it.server_id, it.updated_at],
  );
  const place = { server: it.server_id };
  const grants = asked.value;
  return (
    <>
      <div class="card-head">
        <p class="muted">{t("grants.server.lead")}</p>
        {keepsServers() && (
          <Button icon="add" onPress={() => setAdding(true)}>
            {t("grant.add")}
          </Button>
        )}
      </div>
      <Unanswered asked={asked} />
      {grants?.own.length === 0 && <Nothing icon="person" title={t("grants.none")} />}
      {grants && grants.own.length > 0 && <GrantRows place={place} grants={grants.own} may={keepsServers()} name={t("grants.who_may")} onChanged={asked.again} />}
      {grants?.around.map((each) => (
        <section key={JSON.stringify(each.servers)} class="stacked" aria-label={placeText(each.servers)}>
          <h3>
            <a href="/servers/grants">{placeText(each.servers)}</a>
          </h3>
          <GrantRows place={each.servers} grants={each.grants} may={false} name={placeText(each.servers)} onChanged={asked.again} />
        </section>
      ))}
      {adding && (
        <GrantForm
          place={place}
          onDone={() => {
            say(t("grant.saved"));
            asked.again();
          }}
          onClose={() => setAdding(false)}
        />
      )}
    </>
  );
}
