// How does a recording look again? asciinema-player draws it, with controls of ours: in both languages,
// for the keyboard and for screen readers.
//
// Its terminal is WebAssembly, which our pages may not run. It runs in a worker, whose file comes with a
// policy of its own (`services/api/src/safe_headers.rs`): there is no page there that could be harmed.
import { create } from "asciinema-player/ui.js";
import workerUrl from "asciinema-player/dist/bundle/asciinema-player-worker.min.js?url";
import type { Player as Playing } from "asciinema-player/ui.js";
import { useEffect, useRef, useState } from "preact/hooks";
import { t } from "../i18n/words";
import { Button } from "../parts/button";
import { CheckField } from "../parts/field";
import { stopwatch } from "../shown";
import "asciinema-player/dist/bundle/asciinema-player.css";
import "../style/recordings.css";

const SPEEDS = [0.5, 1, 2, 4, 8] as const;
/** A pause is no longer than this when pauses are skipped. */
const PAUSE_MAX_S = 1;
const LOOK_EVERY_MS = 200;
/** By the arrow keys. */
const STEP_S = 5;

export interface Replayed {
  /** An asciicast, whole. */
  text: string;
}

export function Player({ text }: Replayed) {
  const into = useRef<HTMLDivElement>(null);
  const [player, setPlayer] = useState<Playing | null>(null);
  const [playing, setPlaying] = useState(false);
  const [at_s, setAt] = useState(0);
  const [length_s, setLength] = useState(0);
  const [speed, setSpeed] = useState<number>(1);
  const [skips, setSkips] = useState(true);
  const reached = useRef(0);
  useEffect(() => {
    if (!into.current) return;
    const [made, end] = played(text, into.current, { speed, skips, startAt: reached.current });
    made.addEventListener("playing", () => setPlaying(true));
    made.addEventListener("pause", () => setPlaying(false));
    made.addEventListener("ended", () => setPlaying(false));
    made.addEventListener("metadata", ({ duration }) => setLength(duration ?? 0));
    const look = setInterval(async () => {
      const at = (await made.getCurrentTime()) ?? 0;
      reached.current = at;
      setAt(at);
    }, LOOK_EVERY_MS);
    setPlayer(made);
    return () => {
      clearInterval(look);
      end();
      setPlayer(null);
    };
  }, [text, speed, skips]);
  const seek = (to_s: number) => {
    const to = Math.max(0, Math.min(length_s, to_s));
    reached.current = to;
    setAt(to);
    void player?.seek(to);
  };
  const toggle = () => void (playing ? player?.pause() : player?.play());
  return (
    <div class="player">
      <div class="player-screen" ref={into} />
      <div class="player-controls" role="group" aria-label={t("player")}>
        <Button icon={playing ? "pause" : "play"} label={t(playing ? "player.pause" : "player.play")} onPress={toggle} />
        <input
          type="range"
          min={0}
          max={Math.max(length_s, 0.1)}
          step={0.1}
          value={at_s}
          disabled={length_s === 0}
          aria-label={t("player.position")}
          aria-valuetext={`${stopwatch(at_s)} / ${stopwatch(length_s)}`}
          onInput={(event) => seek(Number(event.currentTarget.value))}
          onKeyDown={(key) => {
            const by = { ArrowLeft: -STEP_S, ArrowRight: STEP_S }[key.key];
            if (by === undefined) return;
            key.preventDefault();
            seek(at_s + by);
          }}
        />
        <span class="player-time">
          {stopwatch(at_s)} / {stopwatch(length_s)}
        </span>
        <select aria-label={t("player.speed")} value={String(speed)} onChange={(event) => setSpeed(Number(event.currentTarget.value))}>
          {SPEEDS.map((each) => (
            <option key={each} value={String(each)}>
              {each}×
            </option>
          ))}
        </select>
        <CheckField label={t("player.skips")} checked={skips} onChecked={setSkips} />
      </div>
    </div>
  );
}

/** The player, and how it ends: its worker too, which it would leave running. */
function played(text: string, into: HTMLElement, { speed, skips, startAt }: { speed: number; skips: boolean; startAt: number }): [Playing, () => void] {
  const Usual = globalThis.Worker;
  let worker: Worker | undefined;
  globalThis.Worker = class extends Usual {
    constructor(url: string | URL) {
      super(url);
      worker = this;
    }
  };
  try {
    const options = { autoPlay: true, controls: false, fit: "width", speed, startAt, theme: "portreeve", ...(skips ? { idleTimeLimit: PAUSE_MAX_S } : {}) };
    const player = create({ data: text }, into, workerUrl, options);
    return [
      player,
      () => {
        player.dispose();
        worker?.terminate();
      },
    ];
  } finally {
    globalThis.Worker = Usual;
  }
}
