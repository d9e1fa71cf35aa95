// A clock that stands still until a test moves it.
import type { Clock } from '../../../src/base/clock.ts';

export interface FakeClock extends Clock {
  /** Moves time on, calling what falls due in its order. */
  advance(ms: number): void;
  /** Moves time on without calling anything, as when the event loop is stopped; then calls what is due, once. */
  freeze(ms: number): void;
  /** Moves the wall clock alone. */
  jumpWall(ms: number): void;
  /** Number of timers that wait. */
  waiting(): number;
}

export function createFakeClock(): FakeClock {
  let nowMs = 1000;
  let wallOffsetMs = 1_795_000_000_000;
  const timers = new Set<{ dueMs: number; fn: () => void }>();
  const runDue = (untilMs: number): void => {
    for (;;) {
      const next = [...timers].filter(({ dueMs }) => dueMs <= untilMs).sort((a, b) => a.dueMs - b.dueMs)[0];
      if (next === undefined) break;
      timers.delete(next);
      nowMs = Math.max(nowMs, next.dueMs);
      next.fn();
    }
  };
  return {
    wallMs: () => wallOffsetMs + nowMs,
    monotonicMs: () => nowMs,
    after(delayMs, fn) {
      const timer = { dueMs: nowMs + Math.max(0, delayMs), fn };
      timers.add(timer);
      return { cancel: () => void timers.delete(timer) };
    },
    advance(ms) {
      const untilMs = nowMs + ms;
      runDue(untilMs);
      nowMs = untilMs;
    },
    freeze(ms) {
      nowMs += ms;
      runDue(nowMs);
    },
    jumpWall(ms) {
      wallOffsetMs += ms;
    },
    waiting: () => timers.size,
  };
}

/** Lets promises that are already settled run on. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
}
