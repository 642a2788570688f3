// Dark or light? As the system says, unless somebody chose.
import { effect, signal } from "@preact/signals";
import { keptChoice } from "./kept";

export const THEMES = ["system", "light", "dark"] as const;
export const theme = keptChoice("theme", THEMES, "system");

const systemDark = matchMedia("(prefers-color-scheme: dark)");
const systemIsDark = signal(systemDark.matches);
systemDark.addEventListener("change", (change) => (systemIsDark.value = change.matches));

/** What is shown now. */
export function isDark(): boolean {
  return theme.value === "system" ? systemIsDark.value : theme.value === "dark";
}

effect(() => {
  const root = document.documentElement;
  if (theme.value === "system") delete root.dataset["theme"];
  else root.dataset["theme"] = theme.value;
});
