// What does the API say of environments? Its shapes, and what each status means to a person.
import type { IconName } from "../parts/icon";

export type Status = "creating" | "running" | "stopping" | "stopped" | "starting" | "failed" | "deleting" | "deleted";

export interface Resources {
  cpu: number;
  memory: number;
  gpu: number;
  storage: number;
}

export interface Environment {
  env_id: string;
  tenant_id: string;
  owner: string;
  name: string;
  status: Status;
  phase: string | null;
  code: string | null;
  reason: string | null;
  image: string;
  resources: Resources;
  jupyter: boolean;
  ssh_host: string;
  ssh_port: number | null;
  ssh_username: string;
  ssh_command: string | null;
  jupyter_port: number | null;
  allow_list: string[];
  ttl_s: number | null;
  expires_at: string | null;
  created_at: string;
  updated_at: string;
}

export interface ConnectionInfo {
  env_id: string;
  ssh_host: string;
  ssh_port: number | null;
  ssh_username: string;
  ssh_password: string | null;
  has_password: boolean;
  ssh_command: string | null;
  gateway_command: string;
  vscode_config: string | null;
  sftp_url: string | null;
  jupyter_url: string | null;
}

export interface Session {
  session_id: string;
  ip: string;
  user: string;
  entrance: string;
  method: string;
  opened_at: string;
  closed_at: string | null;
  bytes_in: number | null;
  bytes_out: number | null;
  reason: string | null;
}

export interface Login {
  seq: number;
  at: string;
  /** `succeeded`, `failed`, `locked`, `unlocked`. */
  kind: string;
  ip: string | null;
  user: string | null;
  method: string | null;
  class: string | null;
  entrance: string | null;
  until: string | null;
}

export interface Lockout {
  ip: string;
  until: string;
}

export interface Quota {
  tenant_id: string;
  limits: Partial<Record<"environments" | "cpu" | "memory" | "gpu" | "storage", number | null>>;
  used: Record<"environments" | "cpu" | "memory" | "gpu" | "storage", number>;
}

export type Tone = "good" | "busy" | "bad" | "still";

export function toneOf(status: Status): Tone {
  switch (status) {
    case "running":
      return "good";
    case "failed":
      return "bad";
    case "stopped":
    case "deleted":
      return "still";
    default:
      return "busy";
  }
}

/** Neither deleted nor on the way there. */
export const stays = (status: Status) => status !== "deleted" && status !== "deleting";
export const mayStop = (status: Status) => status === "running" || status === "creating" || status === "starting";
export const mayStart = (status: Status) => status === "stopped" || status === "failed";
/** On its way up, worth watching. */
export const comesUp = (status: Status) => status === "creating" || status === "starting";

export const toneIcon: Record<Tone, IconName> = { good: "check", busy: "reset", bad: "alert", still: "stop" };
