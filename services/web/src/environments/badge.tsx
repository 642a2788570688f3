// How is the environment? One word with a dot whose colour repeats it.
import { t } from "../i18n/words";
import { toneOf } from "./environment";
import type { Status } from "./environment";

export function Badge({ status }: { status: Status }) {
  return (
    <span class={`badge ${toneOf(status)}`} data-status={status}>
      <span class="dot" aria-hidden="true" />
      {t(`status.${status}`)}
    </span>
  );
}
