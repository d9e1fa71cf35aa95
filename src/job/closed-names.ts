// Names of attempts that are over, so that a copy of their order starts nothing. Their number is bounded, and the oldest go
// first. Of what has gone one number stays: until when its orders were good. An order that is good no longer than that may
// be a copy of one that was forgotten, and is refused; those that are signed now are good for longer.
import { ORDER_LIFE_MS, ORDER_SKEW_MS } from '../protocol/order.ts';
import type { Closed } from './book.ts';

/** Closed attempts that are remembered. */
export const CLOSED_MAX = 8192;

export interface ClosedName {
  readonly jobId: string;
  readonly epoch: number;
  readonly closed: Closed;
  /** A copy of its order may be good until then (wall clock); 0 for one of version 1, which is good by itself never. */
  readonly untilMs: number;
}

export interface ClosedNames {
  add(name: ClosedName): void;
  find(jobId: string, epoch: number): Closed | null;
  /** Oldest first. */
  all(): Iterable<ClosedName>;
  /** An attempt of this epoch exists or existed. */
  see(jobId: string, epoch: number): void;
  /** Highest epoch seen of a job, 0 for none. */
  highestEpoch(jobId: string): number;
  forgottenUntilMs(): number;
  forgot(untilMs: number): void;
  /** Whether the name of an order that is good until then may have been forgotten. */
  mayBeForgotten(untilMs: number, nowMs: number): boolean;
}

export function createClosedNames(): ClosedNames {
  const names = new Map<string, ClosedName>();
  const highest = new Map<string, number>();
  let forgottenMs = 0;

  function see(jobId: string, epoch: number): void {
    if (epoch > (highest.get(jobId) ?? 0)) highest.set(jobId, epoch);
  }

  function forgetOldest(): void {
    for (const [key, { jobId, epoch, untilMs }] of names) {
      if (names.size <= CLOSED_MAX) return;
      names.delete(key);
      forgottenMs = Math.max(forgottenMs, untilMs);
      if (highest.get(jobId) === epoch) highest.delete(jobId);
    }
  }

  return {
    add(name) {
      const key = `${name.jobId}.${name.epoch}`;
      names.delete(key);
      names.set(key, name);
      see(name.jobId, name.epoch);
      forgetOldest();
    },
    find: (jobId, epoch) => names.get(`${jobId}.${epoch}`)?.closed ?? null,
    all: () => names.values(),
    see,
    highestEpoch: (jobId) => highest.get(jobId) ?? 0,
    forgottenUntilMs: () => forgottenMs,
    forgot(untilMs) {
      forgottenMs = Math.max(forgottenMs, untilMs);
    },
    mayBeForgotten(untilMs, nowMs) {
      // No order is good for so long: the wall clock was set back since, and what was remembered by it counts for nothing.
      if (forgottenMs > nowMs + ORDER_LIFE_MS + 2 * ORDER_SKEW_MS) return false;
      return untilMs <= forgottenMs;
    },
  };
}
