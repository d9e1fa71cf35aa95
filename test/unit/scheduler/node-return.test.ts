import { expect, test } from 'vitest';
import { createSilentLog } from '../../../src/base/log.ts';
import type { HeldJob } from '../../../src/protocol/control.ts';
import type { AgentSession } from '../../../src/scheduler/fleet.ts';
import { createNodeReturns, type NodeReturnParts, TOLD_MS } from '../../../src/scheduler/node-return.ts';
import type { JobRecord } from '../../../src/scheduler/queue/queue.ts';
import { jobRecord, recordsOf } from './records.ts';

test('what a node has that is not active here is known until it tells the end, or comes without it', async () => {
  const jobs = new Map<string, JobRecord>();
  for (const [id, state] of Object.entries({
    'job-a': 'LOST',
    'job-b': 'COMPLETED',
    'job-c': 'RUNNING',
  } as const))
    jobs.set(id, jobRecord({ id, state, epoch: 2, nodeId: 'node-a' }));
  const orders: unknown[] = [];
  let nowMs = 5;
  const session = {
    nodeId: 'node-a',
    order: (order: unknown) => void orders.push(order),
    report: () => {},
  } as unknown as AgentSession;
  const returns = createNodeReturns({
    queue: { ...recordsOf(jobs), active: () => [] },
    placement: { hold() {}, release() {} },
    log: createSilentLog(),
    clock: { monotonicMs: () => nowMs, wallMs: () => 1e12 + nowMs },
    refusals: { refused() {} },
    isAssigning: () => false,
  } as unknown as NodeReturnParts);
  const held = (jobId: string, epoch: number, phase: HeldJob['phase']) =>
    ({ jobId, epoch, phase, devices: null }) as HeldJob;
  const holds = (jobId: string, epoch: number) => returns.holds('node-a', jobId, epoch);

  await returns.welcomed(
    session,
    [held('job-a', 1, 'running'), held('job-b', 2, 'ended'), held('job-c', 2, 'running')],
    false,
  );
  expect([holds('job-a', 1), holds('job-b', 2), holds('job-c', 2), holds('job-a', 2)]).toEqual([
    true,
    true,
    false,
    false,
  ]);
  expect(returns.holds('node-b', 'job-a', 1)).toBe(false);
  // The first attempt of it was given up: it is stopped there.
  expect(orders).toMatchObject([{ kind: 'stop', job: { id: 'job-a', epoch: 1 } }]);
  expect(returns.over('node-a', 'job-b', 2)).toBe(true);
  expect([holds('job-a', 1), holds('job-b', 2)]).toEqual([true, true]);
  nowMs += TOLD_MS;
  expect([holds('job-a', 1), holds('job-b', 2)]).toEqual([true, false]);
  // An end that is told long after it came to pass: its job is looked at soon, and its node may not have the answer.
  returns.ended('node-a', { jobId: 'job-c', epoch: 2, endedAtMs: 1e12 - 60_000 });
  returns.ended('node-a', { jobId: 'job-d', epoch: 1, endedAtMs: 1e12 + nowMs });
  expect([holds('job-c', 2), holds('job-d', 1)]).toEqual([true, false]);
  await returns.welcomed(session, [], false);
  expect(holds('job-a', 1)).toBe(false);
});
