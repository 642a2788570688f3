// Why did a call not work? Problem details of the API, or the lack of an answer.
import { isKey, t } from "./i18n/words";

export interface FieldError {
  field: string;
  code: string;
  detail: string;
}

/** RFC 9457 problem details, or `unreachable` when there was no answer. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly detail: string,
    readonly errors: readonly FieldError[] = [],
    readonly correlationId: string | null = null,
    /** Seconds after which it is worth trying again. */
    readonly retryAfter_s: number | null = null,
  ) {
    super(`${code}: ${detail}`);
  }

  /** In the language of the page where it has words for the code, else in the API's own. */
  get title(): string {
    const key = `problem.${this.code}`;
    return isKey(key) ? t(key, { seconds: this.retryAfter_s ?? 0 }) : this.detail;
  }

  /** What is wrong with one field of a form. */
  of(field: string): string | undefined {
    return this.errors.find((error) => error.field === field || error.field.startsWith(`${field}[`))?.detail;
  }
}

/** Which way a test or a command failed, in words of the page where it has some. */
export function classText(name: string): string {
  const key = [`failure.${name}`, `problem.${name}`].find(isKey);
  return key ? t(key) : name.replaceAll("_", " ");
}

export function asProblem(error: unknown): Problem {
  if (error instanceof Problem) return error;
  return new Problem(0, "unreachable", error instanceof Error ? error.message : String(error));
}

/** The problem of an answer that says no. */
export async function problemOf(response: Response): Promise<Problem> {
  const after = Number(response.headers.get("retry-after"));
  const retryAfter = Number.isFinite(after) && after > 0 ? after : null;
  try {
    const body = await response.json();
    return new Problem(
      response.status,
      String(body.code ?? "internal"),
      String(body.detail ?? response.statusText),
      Array.isArray(body.errors) ? body.errors : [],
      body.correlation_id ?? null,
      retryAfter,
    );
  } catch {
    return new Problem(response.status, "internal", response.statusText, [], null, retryAfter);
  }
}
