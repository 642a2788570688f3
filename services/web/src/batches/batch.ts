// What does the API say of batches and commands? Its shapes, and what an outcome means to a person.
import type { Tone } from "../environments/environment";

export type Status = "queued" | "dispatched" | "completed" | "failed" | "timed_out" | "lost" | "cancelled";

export interface Counts extends Record<Status, number> {
  /** Of the completed ones, those with another exit code than 0. */
  completed_nonzero: number;
}

export interface Batch {
  batch_id: string;
  by: string;
  command: string;
  status: "running" | "ended";
  servers: number;
  counts: Counts;
  timeout_ms: number;
  idempotent: boolean;
  concurrency: number;
  /** No more are begun when so many went wrong. */
  stop_after_failures: number | null;
  cancelled_at: string | null;
  /** Too many went wrong: what was not begun by then is called off. */
  stopped_at: string | null;
  created_at: string;
}

/** What was said, byte by byte; the fields are there once it is. */
export interface Outputs {
  stdout?: string;
  stderr?: string;
  /** Where it is no text: all that is shown of it. */
  stdout_base64?: string;
  stderr_base64?: string;
  /** In all. */
  stdout_bytes?: number;
  stderr_bytes?: number;
  /** Some of it was not kept. */
  truncated?: boolean;
}

export interface Command extends Outputs {
  command_id: string;
  batch_id: string;
  server_id: string;
  relay_id: string | null;
  status: Status;
  exit_code: number | null;
  class: string | null;
  reason: string | null;
  suggestion: string | null;
  /** A result that came after the outcome. */
  late: (Outputs & { relay_id: string | null; exit_code: number; at: string }) | null;
  attempts: number;
  times: { requested_at: string; dispatched_at: string | null; deadline: string | null; ended_at: string | null };
}

export interface WholeBatch extends Batch {
  /** In the order of the servers; without their outputs. */
  commands: Command[];
}

/** Completed is good or not by its exit code. */
export type Standing = Exclude<Status, "completed"> | "zero" | "nonzero";

/** In the order of the bar: what ended, then what goes on. */
export const STANDINGS: readonly Standing[] = ["zero", "nonzero", "failed", "timed_out", "lost", "cancelled", "dispatched", "queued"];

export const TONES: Record<Standing, Tone> = {
  zero: "good",
  nonzero: "bad",
  failed: "bad",
  timed_out: "bad",
  lost: "bad",
  cancelled: "still",
  dispatched: "busy",
  queued: "still",
};

export function standingOf({ status, exit_code }: Command): Standing {
  if (status !== "completed") return status;
  return exit_code === 0 ? "zero" : "nonzero";
}

export function countOf({ counts }: Batch, standing: Standing): number {
  if (standing === "zero") return counts.completed - counts.completed_nonzero;
  return standing === "nonzero" ? counts.completed_nonzero : counts[standing];
}

export const endedOf = ({ servers, counts }: Batch) => servers - counts.queued - counts.dispatched;

/** What somebody may want to run once more: it has ended, and not by itself. */
export const isIncomplete = ({ status }: Command) => status === "failed" || status === "timed_out" || status === "lost" || status === "cancelled";

const LINE_MAX = 120;

/** The first line of a command, to know it by. */
export function lineOf({ command }: Batch): string {
  const [line = ""] = command.trim().split("\n");
  return line.length > LINE_MAX || line.length < command.trim().length ? `${line.slice(0, LINE_MAX)}…` : line;
}
