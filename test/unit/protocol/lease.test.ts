import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  LEASE_MARGIN_MS,
  LEASE_MIN_HEARTBEATS,
  leaseMsOf,
  leaseOverAfterMs,
} from '../../../src/protocol/lease.ts';

const stop = (afterMs: number, graceMs = 0) => ({
  disconnect: { policy: 'stop' as const, afterMs },
  graceMs,
});

describe('a lease', () => {
  test('is what the job asks for, never shorter than a link takes to count as lost, and none for one that goes on', () => {
    expect(leaseMsOf(stop(20_000), 2000)).toBe(20_000);
    expect(leaseMsOf(stop(0), 2000)).toBe(LEASE_MIN_HEARTBEATS * 2000);
    expect(leaseMsOf({ disconnect: { policy: 'keep' } }, 2000)).toBeNull();
    expect(leaseOverAfterMs({ disconnect: { policy: 'keep' }, graceMs: 1 }, 2000)).toBeNull();
  });

  test('ends at its node before it ends at the scheduler, whatever is lost on the way and in which direction', () => {
    const beat = fc.record({
      gapMs: fc.integer({ min: 1, max: 10_000 }),
      /** Null: it never arrives. */
      thereMs: fc.option(fc.integer({ min: 0, max: 60_000 })),
      backMs: fc.option(fc.integer({ min: 0, max: 60_000 })),
    });
    fc.assert(
      fc.property(
        fc.array(beat, { minLength: 1, maxLength: 30 }),
        fc.integer({ min: 0, max: 100_000 }),
        fc.integer({ min: 0, max: 60_000 }),
        (beats, afterMs, graceMs) => {
          const spec = stop(afterMs, graceMs);
          let nowMs = 0;
          let countedFromMs = 0; // the hello, which both know
          let receivedMs = 0;
          for (const { gapMs, thereMs, backMs } of beats) {
            nowMs += gapMs;
            if (thereMs === null) continue;
            receivedMs = Math.max(receivedMs, nowMs + thereMs);
            if (backMs !== null) countedFromMs = Math.max(countedFromMs, nowMs);
          }
          const endedMs = countedFromMs + (leaseMsOf(spec, 2000) ?? Number.NaN) + graceMs;
          const lostMs = receivedMs + (leaseOverAfterMs(spec, 2000) ?? Number.NaN);
          expect(lostMs - endedMs).toBeGreaterThanOrEqual(LEASE_MARGIN_MS);
        },
      ),
    );
  });
});
