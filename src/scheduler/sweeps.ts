// When what is kept for a stated time is swept: soon after the start, as ages become due, when its owner finds that there
// is too much of it, and never twice at once.
import { type Clock, every } from '../base/clock.ts';
import { describeError } from '../base/fault.ts';
import type { Log } from '../base/log.ts';

/** Ages are looked at at least this often. */
const AGE_PERIOD_MS = 3600_000;

export interface Sweeps {
  /** Sweeps now, or waits for the sweep that is under way. Never rejects. */
  sweep(): Promise<void>;
  /** Said once a sweep: on a disk that fails it would be the same of everything. What cannot be removed keeps nothing else. */
  failed(error: unknown): false;
  /** A sweep that is under way is to end soon. */
  isClosed(): boolean;
  /** Resolves when no sweep is under way any more. */
  close(): Promise<void>;
}

export interface SweepsOptions {
  readonly keepMs: number;
  /** How often `isTooMuch` is asked, unless things are kept for less. */
  readonly lookMs: number;
  /** `sinceMs`: since the last sweep began. */
  readonly isTooMuch: (sinceMs: number) => boolean;
  readonly once: () => Promise<void>;
  /** What is said of a failure. */
  readonly problem: string;
  readonly clock: Clock;
  readonly log: Log;
}

export function createSweeps(options: SweepsOptions): Sweeps {
  const { keepMs, lookMs, isTooMuch, once, clock } = options;
  let sweptAtMs = Number.NEGATIVE_INFINITY;
  let sweeping: Promise<void> | null = null;
  let closed = false;
  let mayComplain = false;

  const timer = every(clock, Math.min(lookMs, Math.max(1000, keepMs)), () => {
    const sinceMs = clock.monotonicMs() - sweptAtMs;
    if (sinceMs >= Math.min(AGE_PERIOD_MS, keepMs) || isTooMuch(sinceMs)) void sweep();
  });

  function sweep(): Promise<void> {
    mayComplain = true;
    sweeping ??= begin()
      .catch((error: unknown) => {
        failed(error);
      })
      .finally(() => {
        sweeping = null;
      });
    return sweeping;
  }

  function begin(): Promise<void> {
    sweptAtMs = clock.monotonicMs();
    return once();
  }

  function failed(error: unknown): false {
    if (mayComplain) options.log.error({ cause: describeError(error) }, options.problem);
    mayComplain = false;
    return false;
  }

  return {
    sweep,
    failed,
    isClosed: () => closed,
    async close() {
      closed = true;
      timer.cancel();
      await sweeping;
    },
  };
}
