// Real time in a hurry: everything that takes a while takes a fraction of it. For parts with real sockets around them.
import { type Clock, createClock } from '../../src/base/clock.ts';

/** `factor` seconds of this clock pass in one real one. */
export function createFastClock(factor: number): Clock {
  const real = createClock();
  const startMs = real.wallMs();
  return {
    wallMs: () => startMs + (real.wallMs() - startMs) * factor,
    monotonicMs: () => real.monotonicMs() * factor,
    after: (delayMs, fn) => real.after(delayMs / factor, fn),
  };
}
