// What does the API say of batches and commands? Its shapes, and what an outcome means to a person.
import { fresh, get } from "../api";
import type { Page, Parts } from "../api";
import type { Tone } from "../environments/environment";

export type Status = "awaiting_approval" | "queued" | "dispatched" | "completed" | "failed" | "timed_out" | "lost" | "cancelled";

export interface Counts extends Record<Status, number> {
  /** Of the completed ones, those with another exit code than 0. */
  completed_nonzero: number;
}

export interface Batch {
  batch_id: string;
  by: string;
  command: string;
  status: "awaiting_approval" | "running" | "ended";
  servers: number;
  counts: Counts;
  timeout_ms: number;
  idempotent: boolean;
  concurrency: number;
  /** No more are begun when so many went wrong. */
  stop_after_failures: number | null;
  /** What a second person was asked, and said. */
  approval: Approval | null;
  cancelled_at: string | null;
  /** Too many went wrong: what was not begun by then is called off. */
  stopped_at: string | null;
  created_at: string;
}

export interface Approval {
  until: string;
  /** By which it is dangerous. */
  patterns: string[];
  /** `null`: it still waits, or was called off before. */
  answer: "approved" | "rejected" | "expired" | null;
  by: string | null;
  at: string | null;
  reason: string | null;
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
  /** The first ones, in the order of the servers; without their outputs. */
  commands: Command[];
}

/** The API answers with no more at once. */
const PAGE_MAX = 500;
/** As many servers as a batch has at most. */
const PAGES_MAX = 20;

/** Completed is good or not by its exit code. */
export type Standing = Exclude<Status, "completed"> | "zero" | "nonzero";

/** In the order of the bar: what ended, then what goes on. */
export const STANDINGS: readonly Standing[] = ["zero", "nonzero", "failed", "timed_out", "lost", "cancelled", "dispatched", "queued", "awaiting_approval"];

export const TONES: Record<Standing, Tone> = {
  zero: "good",
  nonzero: "bad",
  failed: "bad",
  timed_out: "bad",
  lost: "bad",
  cancelled: "still",
  dispatched: "busy",
  queued: "still",
  awaiting_approval: "still",
};

export function standingOf({ status, exit_code }: Command): Standing {
  if (status !== "completed") return status;
  return exit_code === 0 ? "zero" : "nonzero";
}

export function countOf({ counts }: Batch, standing: Standing): number {
  if (standing === "zero") return counts.completed - counts.completed_nonzero;
  return standing === "nonzero" ? counts.completed_nonzero : counts[standing];
}

export const endedOf = ({ servers, counts }: Batch) => servers - counts.queued - counts.dispatched - counts.awaiting_approval;

/** What somebody may want to run once more: where it ended otherwise than with 0. */
export const wrongOf = ({ counts }: Batch) => counts.completed_nonzero + counts.failed + counts.timed_out + counts.lost + counts.cancelled;

/** By which the API gives out the commands that stand so. */
export function partsOf(standing: Standing | "all"): Parts {
  if (standing === "all") return {};
  if (standing === "zero" || standing === "nonzero") return { status: "completed", ok: String(standing === "zero") };
  return { status: standing };
}

export const commandsPath = (id: string) => `/api/batches/${id}/commands`;

/** All of them, page after page. */
export async function allCommands(id: string, parts: Parts): Promise<Command[]> {
  const all: Command[] = [];
  let cursor: string | null = null;
  for (let page = 0; page < PAGES_MAX; page += 1) {
    const { body }: { body: Page<Command> } = await get<Page<Command>>(fresh(commandsPath(id), { ...parts, limit: PAGE_MAX, cursor }));
    all.push(...body.items);
    cursor = body.next_cursor;
    if (cursor === null) break;
  }
  return all;
}

/** The ids of a batch's commands begin alike: `cmd_1700000000123_`. */
export const isSibling = (id: string, { command_id }: Command) => id.startsWith(command_id.slice(0, command_id.lastIndexOf("_") + 1));

const LINE_MAX = 120;

/** The first line of a command, to know it by. */
export function lineOf({ command }: Pick<Batch, "command">): string {
  const [line = ""] = command.trim().split("\n");
  return line.length > LINE_MAX || line.length < command.trim().length ? `${line.slice(0, LINE_MAX)}…` : line;
}
