// Time that stands still until a test moves it.
import type { Clock } from '../../../src/base/clock.ts';

export interface FakeClock extends Clock {
  /** Moves both clocks on and runs what falls due, in order. */
  advance(ms: number): void;
}

export function createFakeClock(): FakeClock {
  let nowMs = 1000;
  let timers: { atMs: number; fn: () => void }[] = [];
  return {
    wallMs: () => 1_700_000_000_000 + nowMs,
    monotonicMs: () => nowMs,
    after(delayMs, fn) {
      const timer = { atMs: nowMs + delayMs, fn };
      timers.push(timer);
      return {
        cancel() {
          timers = timers.filter((other) => other !== timer);
        },
      };
    },
    advance(ms) {
      const untilMs = nowMs + ms;
      for (;;) {
        const next = timers.filter(({ atMs }) => atMs <= untilMs).sort((a, b) => a.atMs - b.atMs)[0];
        if (next === undefined) break;
        timers = timers.filter((timer) => timer !== next);
        nowMs = Math.max(nowMs, next.atMs);
        next.fn();
      }
      nowMs = untilMs;
    },
  };
}

/** Lets everything that waits for nothing but promises happen. */
export async function settleDown(): Promise<void> {
  for (let i = 0; i < 5; i += 1) await new Promise((resolve) => setImmediate(resolve));
}
