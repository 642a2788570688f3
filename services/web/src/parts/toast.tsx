// What just happened? A line at the edge of the page that goes by itself, and is spoken.
import { signal } from "@preact/signals";

interface Said {
  id: number;
  text: string;
  tone: "good" | "bad";
}

const SHOWN_MS = 4000;
const SHOWN_MAX = 3;
const said = signal<Said[]>([]);
let next = 0;

export function say(text: string, tone: Said["tone"] = "good"): void {
  const id = next++;
  said.value = [...said.value.filter((each) => each.text !== text), { id, text, tone }].slice(-SHOWN_MAX);
  setTimeout(() => (said.value = said.value.filter((each) => each.id !== id)), SHOWN_MS);
}

export function Toasts() {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {said.value.map((each) => (
        <p key={each.id} class={`toast ${each.tone}`}>
          {each.text}
        </p>
      ))}
    </div>
  );
}
