// What is shown where something else should be? Waiting, nothing there yet, or what went wrong.
import type { ComponentChildren } from "preact";
import type { Asked } from "../asked";
import { t } from "../i18n/words";
import type { Problem } from "../problem";
import { Button } from "./button";
import { Icon } from "./icon";
import type { IconName } from "./icon";

export function Waiting() {
  return (
    <p class="waiting" role="status">
      <span class="spinner" aria-hidden="true" /> {t("loading")}
    </p>
  );
}

/** What is shown of a read beside its value: its problem, or that it is waited for. */
export function Unanswered({ asked }: { asked: Pick<Asked<unknown>, "value" | "problem" | "again"> }) {
  if (asked.problem) return <Trouble problem={asked.problem} again={asked.again} />;
  return asked.value === undefined ? <Waiting /> : null;
}

export function Nothing({ icon, title, children }: { icon: IconName; title: string; children?: ComponentChildren }) {
  return (
    <div class="nothing">
      <Icon name={icon} />
      <p class="nothing-title">{title}</p>
      {children}
    </div>
  );
}

export function Trouble({ problem, again }: { problem: Problem; again?: (() => void) | undefined }) {
  // the detail is for what the title does not say already
  const more = problem.title.toLowerCase() === problem.detail.toLowerCase() ? null : problem.detail;
  return (
    <div class="trouble" role="alert">
      <Icon name="alert" />
      <div>
        <p class="trouble-title">{problem.title}</p>
        {more && <p class="trouble-detail">{more}</p>}
        {problem.errors.length > 0 && (
          <ul>
            {problem.errors.map((error) => (
              <li key={error.field + error.code}>
                <code>{error.field}</code> {error.detail}
              </li>
            ))}
          </ul>
        )}
        {problem.code === "internal" && problem.correlationId && (
          <p class="trouble-detail">
            {t("problem.id")} <code>{problem.correlationId}</code>
          </p>
        )}
      </div>
      {again && <Button onPress={again}>{t("again")}</Button>}
    </div>
  );
}
