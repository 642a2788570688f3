// How are times, sizes and amounts written? In the language of the page.
import { signal } from "@preact/signals";
import { language, t } from "./i18n/words";

/** Ticks, so that "3 minutes ago" stays true. */
export const now = signal(Date.now());
setInterval(() => (now.value = Date.now()), 15_000);

const locale = () => (language.value === "zh" ? "zh-Hans" : "en");

const UNITS: [Intl.RelativeTimeFormatUnit, number][] = [
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
];

/** `3 minutes ago`, `in 2 hours`. */
export function ago(time: string): string {
  const seconds = (Date.parse(time) - now.value) / 1000;
  const format = new Intl.RelativeTimeFormat(locale(), { numeric: "auto", style: "short" });
  for (const [unit, length] of UNITS) {
    if (Math.abs(seconds) >= length) return format.format(Math.trunc(seconds / length), unit);
  }
  return t("time.just_now");
}

export function instant(time: string): string {
  return new Intl.DateTimeFormat(locale(), { dateStyle: "medium", timeStyle: "medium" }).format(new Date(time));
}

export function clock(time: string): string {
  return new Intl.DateTimeFormat(locale(), { timeStyle: "medium" }).format(new Date(time));
}

/** Seconds until then, never below zero; as of now, not of the last tick. */
export function left_s(time: string): number {
  return Math.max(0, (Date.parse(time) - Math.max(now.value, Date.now())) / 1000);
}

/** `1 h 5 min`. */
export function duration(seconds: number): string {
  const parts: [number, string][] = [
    [Math.floor(seconds / 86_400), t("time.d")],
    [Math.floor(seconds / 3_600) % 24, t("time.h")],
    [Math.floor(seconds / 60) % 60, t("time.min")],
    [Math.floor(seconds) % 60, t("time.s")],
  ];
  const first = parts.findIndex(([amount]) => amount > 0);
  if (first < 0) return `0 ${t("time.s")}`;
  return parts
    .slice(first, first + 2)
    .filter(([amount]) => amount > 0)
    .map(([amount, unit]) => `${amount} ${unit}`)
    .join(" ");
}

/** `1.2 s`, `1 h 5 min`: how long something took. */
export function span(ms: number): string {
  return ms < 60_000 ? `${amount(Math.round(ms / 100) / 10)} ${t("time.s")}` : duration(ms / 1000);
}

/** `1:05`, `1:02:05`. */
export function stopwatch(seconds: number): string {
  const whole = Math.floor(seconds);
  const [h, min, s] = [Math.floor(whole / 3_600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (part: number) => String(part).padStart(2, "0");
  return h > 0 ? `${h}:${two(min)}:${two(s)}` : `${min}:${two(s)}`;
}

/** `1.2 MB`, powers of 1000. */
export function bytes(count: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let power = 0;
  while (count >= 1000 && power < units.length - 1) {
    count /= 1000;
    power += 1;
  }
  return `${power === 0 ? count : count.toFixed(count < 10 ? 1 : 0)} ${units[power]}`;
}

export function amount(value: number): string {
  return new Intl.NumberFormat(locale(), { maximumFractionDigits: 3 }).format(value);
}
