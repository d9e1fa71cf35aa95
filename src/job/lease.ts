// The agent's half of leases (protocol/lease.ts): which of its jobs may go on without their scheduler, and for how
// long. It counts from the last complete round trip; what holds a job to it, also without this agent, is its shim.
// An agent that has just started has no contact: a lease that its predecessor was given runs on in the shim, and
// nothing that needs one is started.
import type { Clock } from '../base/clock.ts';
import type { StartOrder } from '../protocol/control.ts';
import { leaseMsOf } from '../protocol/lease.ts';
import type { Attempt } from './book.ts';

export interface Leases {
  /** What is left of the lease of such an order, in ms; 0 when it is over or nobody has been in contact; null: needs none. */
  leftMs(order: StartOrder): number | null;
  /** A round trip that began at this monotonic time is complete: prolongs what runs. */
  contact(sinceMs: number, heartbeatMs: number, attempts: Iterable<Attempt>): void;
  hasContact(): boolean;
}

export function createLeases(clock: Clock): Leases {
  let last: { readonly sinceMs: number; readonly heartbeatMs: number } | null = null;

  function leftMs(order: StartOrder): number | null {
    const leaseMs = leaseMsOf(order.spec, last?.heartbeatMs ?? 0);
    if (leaseMs === null) return null;
    if (last === null) return 0;
    return Math.max(0, Math.floor(leaseMs - (clock.monotonicMs() - last.sinceMs)));
  }

  return {
    leftMs,
    contact(sinceMs, heartbeatMs, attempts) {
      if (last !== null && sinceMs < last.sinceMs) return;
      last = { sinceMs, heartbeatMs };
      for (const { order, execution, result } of attempts) {
        if (order === null || execution === null || result !== null) continue;
        const left = leftMs(order);
        // One that is over is not revived: the shim is ending it, and the scheduler may have counted on it.
        if (left !== null && left > 0) execution.renew(left);
      }
    },
    hasContact: () => last !== null,
  };
}
