import { expect, test } from 'vitest';
import { leaseOverAfterMs } from '../../../src/protocol/lease.ts';
import { jobSpecSchema } from '../../../src/protocol/spec.ts';
import { createLeases } from '../../../src/scheduler/leases.ts';
import type { JobRecord, NodeRecord } from '../../../src/scheduler/queue/queue.ts';
import { createHandClock } from '../link/parts.ts';

const HEARTBEAT_MS = 2000;
const spec = (disconnect: object) =>
  jobSpecSchema.parse({ version: 1, command: ['true'], graceMs: 1000, disconnect });
const job = (id: string, disconnect: object): JobRecord =>
  ({ id, nodeId: 'node-a', state: 'RUNNING', spec: spec(disconnect) }) as JobRecord;

function bench(seenMs: number | null) {
  const clock = createHandClock();
  const jobs = [
    job('job-now', { policy: 'stop', afterMs: 0 }),
    job('job-later', { policy: 'stop', afterMs: 60_000 }),
    job('job-keep', { policy: 'keep' }),
  ];
  const ended: string[] = [];
  let seen = seenMs;
  const leases = createLeases({
    queue: {
      nodes: () => [{ id: 'node-a' } as NodeRecord],
      active: () => jobs.filter(({ id }) => !ended.some((one) => one.startsWith(id))),
    },
    fleet: { seenMonotonicMs: () => seen, name: () => 'gpu-7' },
    heartbeatMs: HEARTBEAT_MS,
    clock,
    end: ({ id }, { state, endKind, cause }) => void ended.push(`${id} ${state} ${endKind} ${cause}`),
  });
  return { clock, ended, leases, hear: () => (seen = clock.monotonicMs()) };
}

const overMs = leaseOverAfterMs(spec({ policy: 'stop', afterMs: 0 }), HEARTBEAT_MS) ?? 0;

test('each job is lost when its own lease is over for certain, one that goes on never', async () => {
  const { clock, ended, leases } = bench(1000);
  await clock.advance(overMs - HEARTBEAT_MS);
  expect(ended).toEqual([]);
  await clock.advance(3 * HEARTBEAT_MS);
  expect(ended).toEqual([
    expect.stringMatching(
      /^job-now LOST disconnected lease lost: gpu-7 has been unreachable for \d+ s; .*stop at once/,
    ),
  ]);
  await clock.advance(70_000);
  expect(ended.map((one) => one.split(' ')[0])).toEqual(['job-now', 'job-later']);
  await clock.advance(10_000_000);
  expect(ended).toHaveLength(2);
  leases.close();
  expect(clock.pending()).toBe(0);
});

test('whatever is heard of the node begins the time anew, and a new scheduler gives it the whole', async () => {
  const heard = bench(1000);
  for (let at = 0; at < 20; at += 1) {
    await heard.clock.advance(overMs - 2 * HEARTBEAT_MS);
    heard.hear();
  }
  expect(heard.ended).toEqual([]);
  const fresh = bench(null);
  await fresh.clock.advance(overMs - HEARTBEAT_MS);
  expect(fresh.ended).toEqual([]);
  await fresh.clock.advance(3 * HEARTBEAT_MS);
  expect(fresh.ended).toHaveLength(1);
});
