// How long the link waits between sessions: the back-off, longer where the scheduler has said no, and as long as it
// asks for.
import { createBackoff } from '../base/backoff.ts';
import { closeCode } from '../protocol/control.ts';
import type { SessionEnd } from './session.ts';

/** Waiting times of the link; tests shorten them. */
export interface LinkTiming {
  readonly minBackoffMs: number;
  readonly maxBackoffMs: number;
  /** A session must be well for this long before the back-off starts over. */
  readonly wellAfterMs: number;
  /** Mean wait after the scheduler has refused this node: retrying soon changes nothing. */
  readonly refusedWaitMs: number;
  /** Facts that are not acknowledged within this time are sent again. */
  readonly resendMs: number;
}
export const linkTiming: LinkTiming = {
  minBackoffMs: 250,
  maxBackoffMs: 30_000,
  wellAfterMs: 60_000,
  refusedWaitMs: 30_000,
  resendMs: 30_000,
};
/** However long a scheduler asks us to stay away. */
const MAX_RETRY_AFTER_MS = 600_000;
/** Sessions in a row that ended over a message that does not fit: more of them would only end the same way. */
const UNFIT_SESSIONS = 3;

export interface Pause {
  /** Milliseconds to wait after this end. */
  after(end: SessionEnd): number;
  /** A session has been well for a while. */
  well(): void;
}

export function createPause(timing: LinkTiming, random: () => number): Pause {
  const backoff = createBackoff({ minMs: timing.minBackoffMs, maxMs: timing.maxBackoffMs, random });
  let unfit = 0;
  return {
    after(end) {
      const waitMs = backoff.next();
      unfit = end.code === closeCode.badMessage ? unfit + 1 : 0;
      const refused =
        end.code === closeCode.unauthenticated ||
        end.code === closeCode.unknownNode ||
        end.code === closeCode.removed ||
        end.code === closeCode.cloned ||
        end.code === closeCode.version ||
        unfit >= UNFIT_SESSIONS;
      if (refused) return Math.max(waitMs, timing.refusedWaitMs * (0.5 + random()));
      if (end.retryAfterMs === null) return waitMs;
      return Math.max(waitMs, Math.min(MAX_RETRY_AFTER_MS, end.retryAfterMs) * (1 + random() / 2));
    },
    well: backoff.reset,
  };
}
