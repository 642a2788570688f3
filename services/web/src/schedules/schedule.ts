// What does the API say of schedules? Its shapes, and what an outcome means to a person.
import type { Tone } from "../environments/environment";

export type Status = "active" | "paused" | "ended" | "removed";
export type Outcome = "running" | "succeeded" | "failed" | "skipped";
export type Why = "missed" | "still_running" | "not_allowed" | "no_servers";

/** What became of a due time, or of several that were skipped together. */
export interface Due {
  due_at: string;
  count: number;
  outcome: Outcome;
  batch_id: string | null;
  why: Why | null;
}

export interface Schedule {
  schedule_id: string;
  name: string;
  by: string;
  status: Status;
  run: { command: string };
  /** Once, then. */
  at: string | null;
  cron: string | null;
  time_zone: string | null;
  next_due: string | null;
  last: Due | null;
}

export const TONES: Record<Outcome, Tone> = { running: "busy", succeeded: "good", failed: "bad", skipped: "still" };
