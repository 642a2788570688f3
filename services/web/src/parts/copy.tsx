// How is a text taken along? A button beside it, which says when it is done.
import { useEffect, useState } from "preact/hooks";
import { t } from "../i18n/words";
import { Button } from "./button";
import { copyText } from "./clipboard";
import { say } from "./toast";

const SHOWN_MS = 1500;

/** `what` is the name of the thing, for those who do not see where the button stands. */
export function Copy({ text, what }: { text: string; what: string }) {
  const [done, setDone] = useState(false);
  useEffect(() => {
    if (!done) return;
    const timer = setTimeout(() => setDone(false), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [done]);
  const copy = () =>
    void copyText(text).then((worked) => {
      setDone(worked);
      say(worked ? t("copied", { what }) : t("copy.failed"), worked ? "good" : "bad");
    });
  return <Button kind="quiet" icon={done ? "check" : "copy"} label={t("copy.what", { what })} onPress={copy} />;
}
