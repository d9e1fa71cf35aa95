// Whether the two rivers flow, asked by the watchdog, by /healthz and /readyz, and by the status line.
//
//   live    the sampler delivers windows (where there is an addon to read with) and the job room answers.
//           Not live is what a restart may mend: the watchdog is not fed, /healthz is 503.
//   ready   live, and a session with the scheduler stands, or stood within the last three heartbeats.
//           Where no order is taken (safe mode, starts.ts; no durable space) it is live, and not ready.
//           Not ready is nobody's fault here: /readyz is 503 with the reason, running jobs go on.
import type { Clock } from '../base/clock.ts';
import { describeError } from '../base/fault.ts';
import type { LinkState } from '../link/link-state.ts';

/** Windows that may be missing before the sampler counts as stuck, and the least time that this takes. */
const MISSING_WINDOWS = 5;
const MIN_PATIENCE_MS = 10_000;
/** Heartbeats without a session before the agent is not ready. */
const MISSING_HEARTBEATS = 3;

export interface Health {
  readonly live: boolean;
  readonly ready: boolean;
  readonly reason: string;
  /** What a person must know although it is live. */
  readonly note: string | null;
}

export interface VitalsParts {
  /** Monotonic ms of the last window, null before the first; null instead of a function when nothing samples. */
  readonly lastWindowMs: (() => number | null) | null;
  readonly windowMs: number;
  readonly runningCount: () => number;
  readonly linkState: () => LinkState;
  readonly schedulerUrl: string;
  /** Why the agent takes no orders, or null. */
  readonly takesNone?: () => string | null;
  readonly clock: Clock;
}

export interface Vitals {
  /** What stands still, or null. */
  stuck(): string | null;
  health(): Health;
  status(): string;
}

export function createVitals(parts: VitalsParts): Vitals {
  const { clock, linkState, schedulerUrl } = parts;
  const bornMs = clock.monotonicMs();
  const patienceMs = Math.max(MIN_PATIENCE_MS, MISSING_WINDOWS * parts.windowMs);

  function stuck(): string | null {
    if (parts.lastWindowMs !== null) {
      const ageMs = clock.monotonicMs() - (parts.lastWindowMs() ?? bornMs);
      if (ageMs > patienceMs) return `no numbers from the sampler for ${Math.round(ageMs / 1000)} s`;
    }
    try {
      parts.runningCount();
      return null;
    } catch (error) {
      return `the job room does not answer: ${describeError(error)}`;
    }
  }

  function link(): { isUp: boolean; text: string } {
    const { connected, sinceMs, sessions, error, heartbeatMs } = linkState();
    if (connected) return { isUp: true, text: `connected to ${schedulerUrl}` };
    const downMs = clock.monotonicMs() - sinceMs;
    const isShort = sessions > 0 && downMs <= MISSING_HEARTBEATS * (heartbeatMs ?? 0);
    const why = error === null ? '' : `: ${error}`;
    return {
      isUp: isShort,
      text: `no session with the scheduler at ${schedulerUrl} for ${Math.round(downMs / 1000)} s${why}`,
    };
  }

  return {
    stuck,
    health() {
      const what = stuck();
      const { isUp, text } = link();
      const careful = parts.takesNone?.() ?? null;
      const ready = what === null && isUp && careful === null;
      return { live: what === null, ready, reason: what ?? careful ?? text, note: careful };
    },
    status() {
      const count = parts.runningCount();
      const { connected, error } = linkState();
      const where = connected
        ? `connected to ${schedulerUrl}`
        : `no session with ${schedulerUrl}${error === null ? '' : `: ${error}`}`;
      const careful = parts.takesNone?.() ?? null;
      const before = careful === null ? '' : `${careful}; `;
      return `${before}${where}; ${count === 1 ? '1 job runs' : `${count} jobs run`}`;
    },
  };
}
