// In which words? One dictionary a language; the types make sure that none lacks a word.
import { keptChoice } from "../kept";
import { en } from "./en";
import { zh } from "./zh";

export type Key = keyof typeof en;
export const LANGUAGES = ["en", "zh"] as const;

const fromBrowser = navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
export const language = keptChoice("language", LANGUAGES, fromBrowser);

const dictionaries: Record<(typeof LANGUAGES)[number], Record<Key, string>> = { en, zh };

/** The words for `key`, with `{name}` replaced by the part of that name. */
export function t(key: Key, parts: Record<string, string | number> = {}): string {
  const text = dictionaries[language.value][key];
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => String(parts[name] ?? whole));
}

export function isKey(key: string): key is Key {
  return key in en;
}
