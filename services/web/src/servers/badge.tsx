// Does one get in? One word with a dot whose colour repeats it.
import { t } from "../i18n/words";
import { TONES, standingOf } from "./server";
import type { Server } from "./server";

export function Badge({ server }: { server: Server }) {
  const standing = standingOf(server);
  return (
    <span class={`badge ${TONES[standing]}`} data-standing={standing}>
      <span class="dot" aria-hidden="true" />
      {t(`server.${standing}`)}
    </span>
  );
}
