// What was seen at each step, and what can be done about it? In words of the page where it has some; what was seen is
// in the API's own, which know more.
import type { Tone } from "../environments/environment";
import { isKey, t } from "../i18n/words";
import { classText } from "../problem";

export interface Finding {
  step: string;
  status: "ok" | "warning" | "failed" | "skipped";
  class: string | null;
  said: string;
  remedy: string | null;
}

const TONES: Record<Finding["status"], Tone> = { ok: "good", warning: "busy", failed: "bad", skipped: "still" };

function stepText(step: string): string {
  const key = `doctor.step.${step}`;
  return isKey(key) ? t(key) : step.replaceAll("_", " ");
}

export function Findings({ items }: { items: readonly Finding[] }) {
  return (
    <table class="rows findings" aria-label={t("doctor.findings")}>
      <thead>
        <tr>
          <th scope="col">{t("doctor.step")}</th>
          <th scope="col">{t("status")}</th>
          <th scope="col">{t("doctor.seen")}</th>
        </tr>
      </thead>
      <tbody>
        {items.map((each, index) => (
          <tr key={index} data-step={each.step} data-finding={each.status}>
            <th scope="row">{stepText(each.step)}</th>
            <td data-label={t("status")}>
              <span class={`badge steady ${TONES[each.status]}`}>
                <span class="dot" aria-hidden="true" />
                {t(`doctor.${each.status}`)}
              </span>
            </td>
            <td data-label={t("doctor.seen")}>
              <div>
                {each.class && <p class="finding-class">{classText(each.class)}</p>}
                <p class="breaks">{each.said}</p>
                {each.remedy && (
                  <p class="finding-remedy">
                    {t("terminal.suggestion")} {each.remedy}
                  </p>
                )}
              </div>
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
