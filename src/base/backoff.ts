// Waiting times between attempts: exponential, capped, with full jitter, so that ten thousand agents that lost
// the same scheduler come back spread out.

export interface Backoff {
  /** Milliseconds to wait before the next attempt: uniform in [minMs, min(maxMs, minMs * 2^n)]. */
  next(): number;
  /** Starts over. Call it only after the peer has been well for a while, not on the first success. */
  reset(): void;
}

export interface BackoffOptions {
  readonly minMs: number;
  readonly maxMs: number;
  /** Uniform in [0, 1). */
  readonly random: () => number;
}

export function createBackoff({ minMs, maxMs, random }: BackoffOptions): Backoff {
  let attempt = 0;
  return {
    next() {
      attempt += 1;
      const ceilingMs = Math.min(maxMs, minMs * 2 ** Math.min(attempt, 30));
      return minMs + random() * (ceilingMs - minMs);
    },
    reset() {
      attempt = 0;
    },
  };
}
