// What does the quota leave? The tenant's limits beside what is in use, kept up to date.
import { fresh, get } from "../api";
import { useFollowed } from "../happenings";
import { t } from "../i18n/words";
import { me } from "../session";
import { amount } from "../shown";
import type { Quota, Resources } from "./environment";

export const MEASURES = ["environments", "cpu", "memory", "gpu", "storage"] as const;
export type Measure = (typeof MEASURES)[number];

export function useQuota(): Quota | undefined {
  const tenant = me.value?.tenant_id;
  const asked = useFollowed(
    async (signal) => (await get<Quota>(fresh(`/api/tenants/${tenant}/quota`), signal)).body,
    // developers hear nothing of the quota itself, but every claim goes with a request
    (event) => event.tenant === tenant && (event.kind === "quota" || event.type === "EnvRequested" || event.type === "EnvDeleted"),
    [tenant],
  );
  return asked.value;
}

/** What could still be claimed; `null` where there is no limit. */
export function left(quota: Quota, measure: Measure): number | null {
  const limit = quota.limits[measure];
  return limit === null || limit === undefined ? null : Math.max(0, limit - quota.used[measure]);
}

/** The measures that this request would go beyond. */
export function beyond(quota: Quota, asked: Resources): Measure[] {
  const wanted: Record<Measure, number> = { environments: 1, ...asked };
  return MEASURES.filter((measure) => {
    const rest = left(quota, measure);
    return rest !== null && wanted[measure] > rest + 1e-9;
  });
}

export function QuotaStrip() {
  const quota = useQuota();
  if (!quota) return null;
  const shown = MEASURES.filter((measure) => quota.limits[measure] !== null && quota.limits[measure] !== undefined);
  if (shown.length === 0) return null;
  return (
    <section class="quota" aria-label={t("quota")}>
      {shown.map((measure) => (
        <Bar key={measure} measure={measure} used={quota.used[measure]} limit={quota.limits[measure] ?? 0} />
      ))}
    </section>
  );
}

function Bar({ measure, used, limit }: { measure: Measure; used: number; limit: number }) {
  const name = t(`quota.${measure}`);
  const full = limit > 0 && used / limit >= 0.9;
  return (
    <div class={`quota-measure${full ? " full" : ""}`}>
      <span class="quota-name">{name}</span>
      <span class="quota-amount">{t("quota.of", { used: amount(used), limit: amount(limit) })}</span>
      <meter aria-label={name} min={0} max={Math.max(limit, used, 1e-9)} value={used} />
    </div>
  );
}
