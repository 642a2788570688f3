// What must be decided before anything else? A dialog of the browser's own, which keeps the focus.
import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";
import { t } from "../i18n/words";
import { Button } from "./button";

interface Shown {
  title: string;
  onClose(): void;
  children: ComponentChildren;
}

export function Dialog({ title, onClose, children }: Shown) {
  const dialog = useRef<HTMLDialogElement>(null);
  const heading = useId();
  useEffect(() => {
    const before = document.activeElement;
    dialog.current?.showModal();
    return () => {
      if (before instanceof HTMLElement) before.focus();
    };
  }, []);
  return (
    <dialog
      ref={dialog}
      aria-labelledby={heading}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      onClick={(click) => click.target === dialog.current && onClose()}
    >
      <div class="dialog-body">
        <header>
          <h2 id={heading}>{title}</h2>
          <Button kind="quiet" icon="close" label={t("close")} onPress={onClose} />
        </header>
        {children}
      </div>
    </dialog>
  );
}

interface Question {
  title: string;
  children: ComponentChildren;
  yes: string;
  danger?: boolean;
  busy?: boolean;
  onYes(): void;
  onClose(): void;
}

/** One question, two answers. */
export function Confirm({ title, children, yes, danger = false, busy = false, onYes, onClose }: Question) {
  return (
    <Dialog title={title} onClose={onClose}>
      {children}
      <footer class="actions">
        <Button onPress={onClose}>{t("cancel")}</Button>
        <Button kind={danger ? "danger" : "primary"} busy={busy} onPress={onYes}>
          {yes}
        </Button>
      </footer>
    </Dialog>
  );
}
