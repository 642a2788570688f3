// What does one type in? A label, the control, a hint, and what is wrong with it.
import type { ComponentChildren, InputHTMLAttributes } from "preact";
import { useId } from "preact/hooks";

interface Around {
  label: string;
  hint?: string | undefined;
  error?: string | undefined;
}

function Frame({ id, label, hint, error, children }: Around & { id: string; children: ComponentChildren }) {
  return (
    <div class={`field${error ? " wrong" : ""}`}>
      <label for={id}>{label}</label>
      {children}
      {hint && (
        <p class="hint" id={`${id}-hint`}>
          {hint}
        </p>
      )}
      {error && (
        <p class="error" id={`${id}-error`}>
          {error}
        </p>
      )}
    </div>
  );
}

function told(id: string, { hint, error }: Around) {
  const by = [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(" ");
  return { id, "aria-invalid": error ? true : undefined, "aria-describedby": by === "" ? undefined : by };
}

interface Text extends Around {
  value: string;
  onValue(value: string): void;
  type?: "text" | "password" | "number" | "datetime-local";
  name?: string;
  placeholder?: string;
  required?: boolean;
  autocomplete?: "off" | "username" | "current-password";
  autofocus?: boolean;
  spellcheck?: boolean;
  maxLength?: number;
  min?: string;
  step?: string;
  inputMode?: "decimal" | "numeric";
  /** Offered while one types; others may be typed too. */
  suggestions?: readonly string[] | undefined;
}

export function TextField({ label, hint, error, value, onValue, type = "text", suggestions, ...rest }: Text) {
  const id = useId();
  const offered = suggestions && suggestions.length > 0 ? { list: `${id}-list` } : {};
  const attributes = { ...rest, ...told(id, { label, hint, error }), ...offered, type, value };
  return (
    <Frame id={id} label={label} hint={hint} error={error}>
      <input {...(attributes as InputHTMLAttributes)} onInput={(event) => onValue(event.currentTarget.value)} />
      {offered.list && (
        <datalist id={offered.list}>
          {suggestions?.map((each) => (
            <option key={each} value={each} />
          ))}
        </datalist>
      )}
    </Frame>
  );
}

export function AreaField({ label, hint, error, value, onValue, rows = 3, placeholder }: Around & { value: string; onValue(value: string): void; rows?: number; placeholder?: string }) {
  const id = useId();
  return (
    <Frame id={id} label={label} hint={hint} error={error}>
      <textarea
        {...told(id, { label, hint, error })}
        rows={rows}
        placeholder={placeholder}
        spellcheck={false}
        value={value}
        onInput={(event) => onValue(event.currentTarget.value)}
      />
    </Frame>
  );
}

export function SelectField({ label, hint, error, value, onValue, options }: Around & { value: string; onValue(value: string): void; options: readonly (readonly [string, string])[] }) {
  const id = useId();
  return (
    <Frame id={id} label={label} hint={hint} error={error}>
      <select {...told(id, { label, hint, error })} value={value} onChange={(event) => onValue(event.currentTarget.value)}>
        {options.map(([name, text]) => (
          <option key={name} value={name}>
            {text}
          </option>
        ))}
      </select>
    </Frame>
  );
}

export function CheckField({ label, hint, checked, onChecked }: { label: string; hint?: string; checked: boolean; onChecked(checked: boolean): void }) {
  const id = useId();
  return (
    <div class="field check">
      <input
        id={id}
        type="checkbox"
        checked={checked}
        aria-describedby={hint ? `${id}-hint` : undefined}
        onChange={(event) => onChecked(event.currentTarget.checked)}
      />
      <label for={id}>{label}</label>
      {hint && (
        <p class="hint" id={`${id}-hint`}>
          {hint}
        </p>
      )}
    </div>
  );
}
