// How does a row lead to its page? As a whole; what is a control in itself does what it does.
import type { ComponentChildren } from "preact";
import { go } from "../router";

export function LeadingRow({ to, children }: { to: string; children: ComponentChildren }) {
  const open = (click: MouseEvent) => {
    if (click.target instanceof Element && click.target.closest("a, button, .row-select")) return;
    if (getSelection()?.toString()) return;
    go(to);
  };
  return (
    <tr onClick={open} class="leads">
      {children}
    </tr>
  );
}
