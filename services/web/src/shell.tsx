// What is around every page? The ways to the others, who is signed in, and the preferences.
import type { ComponentChildren } from "preact";
import { Preferences } from "./account/preferences";
import { t } from "./i18n/words";
import type { Key } from "./i18n/words";
import { Button } from "./parts/button";
import { Icon } from "./parts/icon";
import type { IconName } from "./parts/icon";
import { asProblem } from "./problem";
import { say } from "./parts/toast";
import { path } from "./router";
import { seesRelays } from "./relays/relay";
import { me, signOut } from "./session";

const PLACES: [string, Key, IconName][] = [
  ["/environments", "environments", "cube"],
  ["/servers", "servers", "server"],
  ["/relays", "relays", "relay"],
  ["/batches", "batches", "command"],
  ["/keys", "keys", "key"],
  ["/events", "events", "events"],
];

export function Shell({ children }: { children: ComponentChildren }) {
  const leave = () => void signOut().catch((error) => say(asProblem(error).title, "bad"));
  return (
    <div class="shell">
      <a class="skip" href="#main">
        {t("skip")}
      </a>
      <header class="top">
        <a class="brand" href="/environments">
          <span class="mark">
            <Icon name="anchor" />
          </span>
          Portreeve
        </a>
        <nav class="places" aria-label={t("places")}>
          {PLACES.filter(([to]) => to !== "/relays" || seesRelays()).map(([to, name, icon]) => (
            <a key={to} href={to} aria-current={path.value.startsWith(to) ? "page" : undefined}>
              <Icon name={icon} />
              <span>{t(name)}</span>
            </a>
          ))}
        </nav>
        <div class="top-tools">
          <span class="who" title={me.value?.actor}>
            <Icon name="person" />
            <span>
              {me.value?.owner}
              <span class="role">{me.value && t(`role.${me.value.role}`)}</span>
            </span>
          </span>
          <Preferences />
          <Button kind="quiet" icon="leave" label={t("sign_out")} onPress={leave} />
        </div>
      </header>
      {children}
    </div>
  );
}
