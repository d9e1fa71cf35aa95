// An agent that was stopped for longer than its leases, and then goes on, finds orders in its socket that the scheduler
// has long given up. It asks before it acts: an order for a job with a lease waits for a fresh round trip. Without one
// the session ends, and the order with it: it was never answered, so the scheduler repeats it if it still means it.
import type { Clock } from '../base/clock.ts';
import { isNestedDeeper } from '../protocol/nesting.ts';
import type { Order } from './orders.ts';

export interface OrderGate {
  /** Calls `go` now, or after the next fresh round trip, or never. */
  pass(order: Order, go: () => void): void;
  /** A round trip is complete that began at this monotonic time. */
  contact(sinceMs: number): void;
  /** The session has ended: what waits is forgotten. */
  end(): void;
}

export interface OrderGateParts {
  /** Longest time since the last round trip began, in ms. */
  readonly freshMs: () => number;
  /** Begins a round trip. */
  readonly ask: () => void;
  readonly clock: Clock;
}

export function createOrderGate({ freshMs, ask, clock }: OrderGateParts): OrderGate {
  let waiting: (() => void)[] = [];
  let contactMs = Number.NEGATIVE_INFINITY;
  const isFresh = (): boolean => clock.monotonicMs() - contactMs <= freshMs();
  return {
    pass(order, go) {
      // Once one waits, those behind it wait too: orders keep their order.
      if (!isLeased(order) || (isFresh() && waiting.length === 0)) {
        go();
        return;
      }
      waiting.push(go);
      if (waiting.length === 1) ask();
    },
    contact(sinceMs) {
      contactMs = Math.max(contactMs, sinceMs);
      if (!isFresh()) return;
      const ready = waiting;
      waiting = [];
      for (const go of ready) go();
    },
    end() {
      waiting = [];
      contactMs = Number.NEGATIVE_INFINITY;
    },
  };
}

/** Of a signed order by a look at its text alone: what it is worth is found out by whoever carries it out. */
function isLeased(order: Order): boolean {
  switch (order.type) {
    case 'start':
      return order.spec.disconnect.policy === 'stop';
    case 'signedStart':
      return policyIn(order.spec) === 'stop';
    default:
      return false;
  }
}

/** Deeper than any specification; parsing millions of brackets would block the loop. */
const MAX_NESTING = 12;

function policyIn(spec: string): unknown {
  if (isNestedDeeper(Buffer.from(spec), MAX_NESTING)) return null;
  try {
    return (JSON.parse(spec) as { disconnect?: { policy?: unknown } | null } | null)?.disconnect?.policy;
  } catch {
    return null;
  }
}
