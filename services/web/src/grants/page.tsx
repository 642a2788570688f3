// Who may what on whole zones, groups and labels of servers, and which groups of people are there?
import { useState } from "preact/hooks";
import { t } from "../i18n/words";
import { useListed } from "../listed";
import { Button } from "../parts/button";
import { More } from "../parts/more";
import { Nothing, Unanswered } from "../parts/notice";
import { Tabs } from "../parts/tabs";
import { say } from "../parts/toast";
import { keepsServers } from "../servers/server";
import { me } from "../session";
import { GrantForm } from "./form";
import { mayGrant, placeText } from "./grant";
import type { Grants, Place } from "./grant";
import { People } from "./people";
import { GrantRows } from "./rows";

export function GrantsPage() {
  return (
    <main id="main">
      <nav class="crumbs" aria-label={t("crumbs")}>
        <a href="/servers">{t("servers")}</a>
      </nav>
      <header class="page-head">
        <h1>{t("grants")}</h1>
      </header>
      <p class="lead">{t("grants.lead")}</p>
      <Tabs
        label={t("grants.views")}
        tabs={[
          { name: "places", label: t("grants.places"), body: () => <Places /> },
          { name: "people", label: t("people"), body: () => <People /> },
        ]}
      />
    </main>
  );
}

function Places() {
  const [adding, setAdding] = useState(false);
  const asked = useListed<Grants>("/api/server-grants", {}, (event) => event.kind === "access");
  const items = asked.value?.items ?? [];
  return (
    <>
      {keepsServers() && (
        <div class="actions">
          <Button kind="primary" icon="add" onPress={() => setAdding(true)}>
            {t("grant.add")}
          </Button>
        </div>
      )}
      <Unanswered asked={asked} />
      {asked.value && items.length === 0 && (
        <Nothing icon="person" title={t("grants.none")}>
          <p>{t("grants.none.hint")}</p>
        </Nothing>
      )}
      {items.map((each) => (
        <section key={`${each.tenant_id} ${JSON.stringify(each.servers)}`} class="stacked" aria-label={placeText(each.servers)}>
          <h2>
            <PlaceName place={each.servers} />
            {each.tenant_id !== me.value?.tenant_id && <code class="row-id">{each.tenant_id}</code>}
          </h2>
          <GrantRows place={each.servers} grants={each.grants} may={each.servers.server === undefined ? mayGrant(each.tenant_id) : keepsServers()} name={placeText(each.servers)} onChanged={asked.again} />
        </section>
      ))}
      <More asked={asked} path="/api/server-grants" />
      {adding && (
        <GrantForm
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

function PlaceName({ place }: { place: Place }) {
  if (place.server === undefined) return <>{placeText(place)}</>;
  return <a href={`/servers/${place.server}`}>{t("grant.place.server.of", { name: place.server })}</a>;
}
