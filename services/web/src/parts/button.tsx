// What does one press? A button, or a link that looks like one.
import type { ComponentChildren } from "preact";
import { Icon } from "./icon";
import type { IconName } from "./icon";

type Kind = "primary" | "plain" | "quiet" | "danger";

interface Look {
  kind?: Kind;
  icon?: IconName;
  /** Spoken, and shown as a tip, when there is only a picture. */
  label?: string;
  children?: ComponentChildren;
}

function classes({ kind = "plain", children }: Look): string {
  return `button ${kind}${children === undefined ? " only-icon" : ""}`;
}

interface Pressed extends Look {
  onPress?: () => void;
  type?: "button" | "submit";
  busy?: boolean;
  disabled?: boolean;
  /** For buttons that stay pressed. */
  pressed?: boolean;
}

export function Button(look: Pressed) {
  const { icon, label, children, onPress, type = "button", busy = false, disabled = false, pressed } = look;
  return (
    <button
      class={classes(look)}
      type={type}
      // a busy button stays focusable, so that the keyboard does not lose its place
      aria-disabled={busy || disabled}
      disabled={disabled}
      aria-busy={busy}
      aria-pressed={pressed}
      aria-label={label}
      title={children === undefined ? label : undefined}
      onClick={(click) => {
        if (busy || disabled) click.preventDefault();
        else onPress?.();
      }}
    >
      {busy ? <span class="spinner" aria-hidden="true" /> : icon && <Icon name={icon} />}
      {children !== undefined && <span>{children}</span>}
    </button>
  );
}

export function LinkButton(look: Look & { to: string; external?: boolean }) {
  const { icon, label, children, to, external = false } = look;
  return (
    <a
      class={classes(look)}
      href={to}
      aria-label={label}
      title={children === undefined ? label : undefined}
      target={external ? "_blank" : undefined}
      rel={external ? "noopener noreferrer" : undefined}
    >
      {icon && <Icon name={icon} />}
      {children !== undefined && <span>{children}</span>}
    </a>
  );
}
