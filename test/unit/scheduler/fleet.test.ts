import { describe, expect, it } from 'vitest';
import type { Clock } from '../../../src/base/clock.ts';
import { createFleet } from '../../../src/scheduler/fleet.ts';
import type { NodeRecord, Queue } from '../../../src/scheduler/queue/queue.ts';

const END_MS = 1_000_000;

/** A fleet of one node that is drained until END_MS, and the hands of its clock. */
function drained() {
  const cordon = { by: 'local', reason: 'fan', sinceMs: 0, untilMs: END_MS };
  const record = { id: 'node-1', name: 'a', cordons: { node: cordon, devices: {} } } as unknown as NodeRecord;
  let wallMs = END_MS - 5000;
  let tickMs = 0;
  let due: (() => void) | null = null;
  let freed = 0;
  const clock = {
    wallMs: () => {
      wallMs += tickMs;
      return wallMs;
    },
    monotonicMs: () => 0,
    after(_delayMs: number, fn: () => void) {
      due = fn;
      return {
        cancel: () => {
          if (due === fn) due = null;
        },
      };
    },
  } as unknown as Clock;
  const queue = { nodes: () => [record], node: () => record } as unknown as Queue;
  const placement = { setNode() {}, dropNode() {} } as unknown as Parameters<
    typeof createFleet
  >[0]['placement'];
  const fleet = createFleet({ queue, placement, clock, freed: () => (freed += 1) });
  return {
    fleet,
    /** The wall clock stands here, and goes on by `byMs` with each look at it. */
    stand(atMs: number, byMs = 0) {
      wallMs = atMs;
      tickMs = byMs;
    },
    isWaiting: () => due !== null,
    fire() {
      const fn = due;
      due = null;
      fn?.();
    },
    freed: () => freed,
  };
}

describe('the end of a cordon', () => {
  it('is told to those who wait, though it comes while it is looked at', () => {
    const bed = drained();
    bed.stand(END_MS - 2, 1);
    bed.fire();
    expect(bed.isWaiting()).toBe(true);
    bed.stand(END_MS);
    bed.fire();
    expect(bed.freed()).toBe(2);
    expect(bed.isWaiting()).toBe(false);
  });

  it('is told to those who wait, though somebody else found it over before its timer did', () => {
    const bed = drained();
    bed.stand(END_MS);
    bed.fleet.refresh('node-1');
    expect(bed.isWaiting()).toBe(true);
    bed.fire();
    expect(bed.freed()).toBe(1);
    expect(bed.isWaiting()).toBe(false);
  });
});
