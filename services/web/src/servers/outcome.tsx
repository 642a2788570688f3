// How did a test go? In words of the page where it has some; the server's own words, which know more, below.
import { t } from "../i18n/words";
import { Icon } from "../parts/icon";
import { classText } from "../problem";
import type { Test } from "./server";

export function Outcome({ test }: { test: Test }) {
  if (test.ok) {
    return (
      <div class="notice well" role="status">
        <Icon name="check" />
        <div>
          <p class="trouble-title">{t("server.test.ok", { ms: test.duration_ms })}</p>
          {test.identification && <p class="trouble-detail">{test.identification}</p>}
        </div>
      </div>
    );
  }
  return (
    <div class="trouble" role="alert" data-class={test.class}>
      <Icon name="alert" />
      <div>
        <p class="trouble-title">{test.class && classText(test.class)}</p>
        {test.reason && <p class="trouble-detail">{test.reason}</p>}
        {test.suggestion && (
          <p class="trouble-detail">
            {t("terminal.suggestion")} {test.suggestion}
          </p>
        )}
      </div>
    </div>
  );
}
