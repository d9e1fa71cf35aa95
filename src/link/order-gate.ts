// An agent that was stopped, and then goes on, finds orders in its socket that the scheduler has long given up: their lease
// is over, or another agent with its key was taken in its place. It asks before it acts: an order to start something waits
// for a fresh round trip. Without one the session ends, and the order with it: it was never answered, so the scheduler
// repeats it if it still means it.
import type { Clock } from '../base/clock.ts';
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
      if (!mustBeFresh(order) || (isFresh() && waiting.length === 0)) {
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

/** A scheduler of version 1 may be one that echoes no heartbeats: it is asked for jobs with a lease alone. */
function mustBeFresh(order: Order): boolean {
  return order.type === 'signedStart' || (order.type === 'start' && order.spec.disconnect.policy === 'stop');
}
