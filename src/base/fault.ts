// The one error class of the house. A fault carries a stable code that callers match on, the path of the
// offending field where there is one, and the remedy in words a user can act on. Text is for people only.

export interface FaultDetail {
  /** Path of the offending field or configuration key, e.g. `resources.cpus`. */
  readonly field?: string;
  /** What the reader can do about it, an imperative sentence without a full stop. */
  readonly remedy?: string;
  readonly cause?: unknown;
}

/** A failure with a stable `code` such as `LINK_FRAME_TOO_LONG`. */
export class Fault extends Error {
  readonly code: string;
  readonly field: string | null;
  readonly remedy: string | null;

  constructor(code: string, message: string, detail: FaultDetail = {}) {
    super(message, detail.cause === undefined ? undefined : { cause: detail.cause });
    this.name = 'Fault';
    this.code = code;
    this.field = detail.field ?? null;
    this.remedy = detail.remedy ?? null;
  }
}

export function isFault(value: unknown, code?: string): value is Fault {
  return value instanceof Fault && (code === undefined || value.code === code);
}

/** The errno name (`ENOENT`) of a Node system error, or null. */
export function errnoOf(error: unknown): string | null {
  if (typeof error !== 'object' || error === null || !('code' in error)) return null;
  return typeof error.code === 'string' ? error.code : null;
}

/** One line for a person: message, field and remedy of a fault; the message of anything else. */
export function describeError(error: unknown): string {
  if (error instanceof Fault) {
    const field = error.field === null ? '' : `${error.field}: `;
    const remedy = error.remedy === null ? '' : `; ${error.remedy}`;
    return `${field}${error.message}${remedy}`;
  }
  return error instanceof Error ? error.message : String(error);
}
