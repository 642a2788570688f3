// When is a command to be run? Now, once at a time, or again and again; the fields for it.
import { t } from "../i18n/words";
import { SelectField, TextField } from "../parts/field";

const KINDS = ["now", "at", "cron"] as const;
type Kind = (typeof KINDS)[number];

export interface Timing {
  kind: Kind;
  name: string;
  /** On the clocks here. */
  at: string;
  cron: string;
  zone: string;
}

export const atOnce = (): Timing => ({ kind: "now", name: "", at: "", cron: "0 3 * * *", zone: Intl.DateTimeFormat().resolvedOptions().timeZone });

export const isWhole = ({ kind, name, at }: Timing): boolean => kind === "now" || (name.trim() !== "" && (kind === "cron" || at !== ""));

/** As the API takes it beside what is run. */
export function timesOf({ kind, name, at, cron, zone }: Timing): Record<string, string> {
  const times = kind === "at" ? { at: new Date(at).toISOString() } : { cron, time_zone: zone };
  return { name: name.trim(), ...times };
}

interface Shown {
  timing: Timing;
  onTiming(timing: Timing): void;
  wrong(field: string): string | undefined;
}

export function WhenFields({ timing, onTiming, wrong }: Shown) {
  const change = (part: Partial<Timing>) => onTiming({ ...timing, ...part });
  const { kind } = timing;
  return (
    <>
      <div class="field-row">
        <SelectField label={t("schedule.when")} value={kind} onValue={(value) => change({ kind: value as Kind })} options={KINDS.map((each) => [each, t(`schedule.when.${each}`)] as const)} />
        {kind !== "now" && <TextField label={t("schedule.name")} value={timing.name} onValue={(name) => change({ name })} required autocomplete="off" spellcheck={false} maxLength={63} error={wrong("name")} />}
        {kind === "at" && <TextField label={t("schedule.at")} type="datetime-local" value={timing.at} onValue={(at) => change({ at })} required error={wrong("at")} />}
      </div>
      {kind === "cron" && (
        <div class="field-row">
          <TextField label={t("schedule.cron")} value={timing.cron} onValue={(cron) => change({ cron })} required autocomplete="off" spellcheck={false} hint={t("schedule.cron.hint")} error={wrong("cron")} />
          <TextField label={t("schedule.zone")} value={timing.zone} onValue={(zone) => change({ zone })} autocomplete="off" spellcheck={false} placeholder="Europe/Berlin" error={wrong("time_zone")} />
        </div>
      )}
      {kind !== "now" && <p class="hint">{t("schedule.hint")}</p>}
    </>
  );
}
