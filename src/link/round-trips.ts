// Heartbeats on their way to the scheduler and back. An echo proves that the scheduler has heard this node at some
// time after the heartbeat was sent; nothing else about the link is worth as much (protocol/lease.ts).
import type { Clock } from '../base/clock.ts';

/** Heartbeats that may be on the way to a peer that does not take what waits for it. */
const MAX_UNANSWERED_SLOW = 4;
const MAX_UNANSWERED = 64;

export interface RoundTrips {
  /** Sequence of a heartbeat that is sent now, or null when enough are on the way. */
  begin(isSlow: boolean): number | null;
  /** Monotonic ms at which it was sent; null for one that was never sent or has been answered. */
  echoed(sequence: number): number | null;
}

export function createRoundTrips(clock: Clock): RoundTrips {
  const sentMs = new Map<number, number>();
  let last = 0;
  return {
    begin(isSlow) {
      if (sentMs.size >= (isSlow ? MAX_UNANSWERED_SLOW : MAX_UNANSWERED)) return null;
      last += 1;
      sentMs.set(last, clock.monotonicMs());
      return last;
    },
    echoed(sequence) {
      const sinceMs = sentMs.get(sequence) ?? null;
      // Those before it have been heard as well, or were lost with what came between.
      if (sinceMs !== null) for (const one of [...sentMs.keys()]) if (one <= sequence) sentMs.delete(one);
      return sinceMs;
    },
  };
}
