// What is known of a thing? A name and what it is, to be copied where that helps.
import type { ComponentChildren } from "preact";
import { t } from "../i18n/words";
import { Copy } from "./copy";

export function Fact({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <div class="fact">
      <dt>{name}</dt>
      <dd>{children === null ? <span class="muted">{t("not_yet")}</span> : children}</dd>
    </div>
  );
}

export function CopyFact({ name, text, block = false, hint }: { name: string; text: string | null; block?: boolean; hint?: string }) {
  return (
    <div class={`fact${block ? " block" : ""}`}>
      <dt>{name}</dt>
      <dd>
        {text === null ? (
          <span class="muted">{t("not_yet")}</span>
        ) : (
          <span class="with-copy">
            {block ? <pre tabIndex={0} aria-label={name}>{text.trimEnd()}</pre> : <code>{text}</code>}
            <Copy text={text} what={name} />
          </span>
        )}
        {hint && <p class="hint">{hint}</p>}
      </dd>
    </div>
  );
}
