import { expect, test } from 'vitest';
import type { SessionEnd } from '../../../src/link/session.ts';
import { createPause, linkTiming } from '../../../src/link/timing.ts';

const end = (code: number | null, retryAfterMs: number | null = null): SessionEnd => ({
  code,
  reason: 'r',
  fault: null,
  retryAfterMs,
  wasLive: true,
});

test('waits longer where coming back soon changes nothing, and as long as it is asked to', () => {
  const pause = createPause(linkTiming, () => 0.5);
  expect(pause.after(end(1006))).toBeLessThan(1000);
  for (const code of [4401, 4404, 4410, 4426]) expect(pause.after(end(code))).toBe(linkTiming.refusedWaitMs);
  pause.well();
  expect(pause.after(end(4503, 20_000))).toBe(25_000);
  expect(pause.after(end(4503, 1e12))).toBeLessThan(1_000_000);
});

test('does not loop through sessions that all end over the same message', () => {
  const pause = createPause(linkTiming, () => 0.5);
  expect(pause.after(end(4400))).toBeLessThan(1000);
  expect(pause.after(end(4400))).toBeLessThan(1000);
  expect(pause.after(end(4400))).toBe(linkTiming.refusedWaitMs);
  expect(pause.after(end(1006))).toBeLessThan(linkTiming.refusedWaitMs);
  expect(pause.after(end(4400))).toBeLessThan(linkTiming.refusedWaitMs);
});
