// In which language and colours is the page? Two choices, remembered by this browser.
import { language, t } from "../i18n/words";
import { Button } from "../parts/button";
import { isDark, theme } from "../theme";

export function Preferences() {
  const dark = isDark();
  return (
    <>
      <Button
        kind="quiet"
        icon="language"
        onPress={() => (language.value = language.value === "zh" ? "en" : "zh")}
        label={t("language.other")}
      >
        <span lang={language.value === "zh" ? "en" : "zh-Hans"}>{language.value === "zh" ? "English" : "中文"}</span>
      </Button>
      <Button kind="quiet" icon={dark ? "sun" : "moon"} label={t(dark ? "theme.light" : "theme.dark")} onPress={() => (theme.value = dark ? "light" : "dark")} />
    </>
  );
}
