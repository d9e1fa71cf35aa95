import { describe, expect, it } from 'vitest';
import type { HeldJob } from '../../../src/protocol/control.ts';
import { jobResultSchema } from '../../../src/protocol/result.ts';
import { createOwnResult } from '../../../src/scheduler/own-result.ts';
import type { JobRecord } from '../../../src/scheduler/queue/queue.ts';
import { decideHeld, decideReturn, isGivenUp } from '../../../src/scheduler/reconcile.ts';
import { concernsNode, decideRefusal, decideResult, decideStarted } from '../../../src/scheduler/verdict.ts';
import { fakeResult } from '../../fakes/agent.ts';
import { jobRecord } from './records.ts';

const record = (change: Partial<JobRecord> = {}): JobRecord =>
  jobRecord({ state: 'RUNNING', epoch: 2, nodeId: 'node-a', startedAtMs: 5, ...change });
const held = (change: Partial<HeldJob> = {}): HeldJob => ({
  jobId: 'job-a',
  epoch: 2,
  phase: 'running',
  devices: [],
  ...change,
});

describe('the return of a node', () => {
  const same = { nodeName: 'node-a', rebooted: false, run: 'instance-a' };
  const rebooted = { ...same, rebooted: true };
  const ordered = record({ state: 'STARTING', orderedTo: 'instance-a' });
  it.each([
    ['a running job that it holds goes on', record(), held(), same, 'keep'],
    ['also after a reboot: the agent knows better', record(), held(), rebooted, 'keep'],
    ['a cancelled one that it holds is stopped', record({ cancelBy: 'user' }), held(), same, 'stop'],
    [
      'a cancelled one that has ended is left to its result',
      record({ cancelBy: 'user' }),
      held({ phase: 'ended' }),
      same,
      'keep',
    ],
    ['an order that it does not hold is sent again', ordered, null, same, 'resend'],
    ['but not to another run of the agent', ordered, null, { ...same, run: 'instance-b' }, 'supersede'],
    [
      'nor where nobody knows which run has it',
      record({ state: 'STARTING' }),
      null,
      { ...same, run: 'instance-b' },
      'supersede',
    ],
    ['another run that holds it goes on', ordered, held(), { ...same, run: 'instance-b' }, 'keep'],
    [
      'a cancelled order that it does not hold never ran',
      record({ state: 'STARTING', cancelBy: 'user' }),
      null,
      same,
      'cancelled',
    ],
    ['after a reboot such an order is lost', record({ state: 'STARTING' }), null, rebooted, 'lost'],
    ['a running job that it does not hold is lost', record(), null, same, 'lost'],
  ])('%s', (_name, job, agentHolds, node, kind) => {
    expect(decideReturn(job, agentHolds, node).kind).toBe(kind);
  });

  it.each([
    ['a job that nobody knows', null, held(), 'unknown'],
    [
      'a later attempt than the store knows',
      record({ state: 'PENDING', epoch: 0, nodeId: null }),
      held(),
      'adopt',
    ],
    ['a later attempt of an active job', record({ epoch: 1 }), held(), 'adopt'],
    ['an earlier attempt', record({ epoch: 3 }), held(), 'stale'],
    [
      'a waiting job refused before at this epoch',
      record({ state: 'PENDING', nodeId: null }),
      held(),
      'stale',
    ],
    ['a job that has ended here', record({ state: 'LOST' }), held(), 'finished'],
  ])('finds %s', (_name, job, agentHolds, decision) => {
    expect(decideHeld(job, agentHolds)).toBe(decision);
  });
});

describe('an attempt that its node still holds', () => {
  const lost = (endKind: 'lost' | 'disconnected') =>
    record({ state: 'LOST', result: fakeResult('node-a', 'job-a', { epoch: 2, state: 'LOST', endKind }) });
  it.each([
    ['of which a later one was ordered', record({ epoch: 3 }), held(), true],
    ['whose job waits for the next', record({ state: 'PENDING', nodeId: null }), held(), true],
    ['whose lease was over', lost('disconnected'), held(), true],
    ['but has ended', record({ epoch: 3 }), held({ phase: 'ended' }), false],
    ['that the scheduler called lost for another reason', lost('lost'), held(), false],
    ['that is later than the store knows', record({ epoch: 1 }), held(), false],
  ])('%s is stopped there: %s', (_name, job, agentHolds, isStopped) => {
    expect(isGivenUp(job, agentHolds)).toBe(isStopped);
  });
});

describe('what a node tells', () => {
  const result = fakeResult('node-a', 'job-a', { epoch: 2 });
  it.each([
    ['the result of its running attempt', record(), result, 'node-a', 'apply'],
    ['a result before the start was told', record({ state: 'STARTING' }), result, 'node-a', 'apply'],
    ['the same result again', record({ state: 'COMPLETED', result }), result, 'node-a', 'repeat'],
    [
      'another result',
      record({ state: 'COMPLETED', result }),
      { ...result, exitCode: 1 },
      'node-a',
      'contradiction',
    ],
    ['a result after the scheduler gave it up', record({ state: 'LOST' }), result, 'node-a', 'contradiction'],
    ['a result of an earlier attempt', record({ epoch: 3 }), result, 'node-a', 'stale'],
    ['a result of an attempt that was never ordered', record({ epoch: 1 }), result, 'node-a', 'foreign'],
    ['a result in the name of another node', record(), result, 'node-b', 'foreign'],
    ['a result of a job of another node', record({ nodeId: 'node-b' }), result, 'node-a', 'foreign'],
    ['a result of an unknown job', null, result, 'node-a', 'unknown'],
  ])('judges %s', (_name, job, told, nodeId, verdict) => {
    expect(decideResult(job, told, nodeId)).toBe(verdict);
  });

  it.each([
    ['a start', record({ state: 'STARTING', startedAtMs: null }), 2, 'apply'],
    ['a start of an adopted job', record({ startedAtMs: null }), 2, 'apply'],
    ['a start again', record(), 2, 'repeat'],
    ['a start after the end', record({ state: 'FAILED' }), 2, 'repeat'],
    ['a start of an earlier attempt', record(), 1, 'stale'],
    ['a start that was never ordered', record(), 3, 'foreign'],
  ])('judges %s', (_name, job, epoch, verdict) => {
    expect(decideStarted(job, epoch, 'node-a')).toBe(verdict);
  });
});

describe('an order that was refused', () => {
  it('pauses its node, unless it is refused for what only this job asks', () => {
    expect(concernsNode('JOB_EXECUTOR_BROKEN')).toBe(true);
    expect(concernsNode('JOB_NETWORK_WALL_MISSING')).toBe(false);
  });

  const starting = (change: Partial<JobRecord> = {}) =>
    record({ state: 'STARTING', startedAtMs: null, ...change });
  it.each([
    ['is tried again', starting(), 'start', 'JOB_EXECUTOR_BROKEN', 'retry'],
    ['is given up after five attempts', starting({ epoch: 5 }), 'start', 'JOB_EXECUTOR_BROKEN', 'giveUp'],
    ['is never given up for a full disk', starting({ epoch: 500 }), 'start', 'JOB_NO_DURABLE_SPACE', 'retry'],
    [
      'ends a job that is to be cancelled',
      starting({ cancelBy: 'user' }),
      'start',
      'JOB_STOPPED',
      'cancelled',
    ],
    ['means nothing for a job that runs', record(), 'start', 'JOB_EPOCH_STALE', 'ignore'],
    ['means nothing for a job that has ended', record({ state: 'FAILED' }), 'stop', 'JOB_UNKNOWN', 'ignore'],
    [
      'means that a running job to be stopped is lost',
      record({ cancelBy: 'user' }),
      'stop',
      'JOB_UNKNOWN',
      'lost',
    ],
    [
      'means that an unconfirmed job never runs',
      starting({ cancelBy: 'user' }),
      'stop',
      'JOB_UNKNOWN',
      'cancelled',
    ],
    [
      'means that another run of its agent never had it, where nobody wants its end',
      starting(),
      'stop',
      'JOB_UNKNOWN',
      'retry',
    ],
    [
      'ended where its node has settled it, in a time that the store lost',
      starting(),
      'start',
      'JOB_SETTLED',
      'lost',
    ],
    ['also where that was to be superseded', starting(), 'stop', 'JOB_SETTLED', 'lost'],
    ['also where somebody wanted its end', starting({ cancelBy: 'user' }), 'stop', 'JOB_SETTLED', 'lost'],
    ['asks again where that was not let in', starting(), 'stop', 'ORDER_EXPIRED', 'again'],
    ['a stop that was not let in leaves a job that may run on', record(), 'stop', 'ORDER_EXPIRED', 'ignore'],
    ['also where nobody is there to stop it', record(), 'stop', 'RUNNER_AWAY', 'ignore'],
    [
      'a start that came too late, or under a key that the node will learn, is tried again as often as it takes',
      record({ state: 'STARTING', startedAtMs: null, epoch: 99 }),
      'start',
      'ORDER_EXPIRED',
      'retry',
    ],
    [
      'a start that nobody signed is given up in the end',
      record({ state: 'STARTING', startedAtMs: null, epoch: 99 }),
      'start',
      'ORDER_UNSIGNED',
      'giveUp',
    ],
  ] as const)('%s', (_name, job, kind, code, decision) => {
    expect(decideRefusal(job, kind, code)).toBe(decision);
  });
});

describe('a result that the scheduler writes', () => {
  it('has the shape of an agent’s and calls nothing measured that was not', () => {
    const own = createOwnResult(
      record(),
      { state: 'LOST', endKind: 'lost', cause: 'x'.repeat(5000), stoppedBy: null },
      9,
      { stdoutBytes: 1, stderrBytes: 2 },
    );
    expect(jobResultSchema.parse(own)).toEqual(own);
    for (const name of ['durationMs', 'cpuUserSeconds', 'energyJoules', 'flop'] as const) {
      expect(own.usage[name]).toBeNull();
      expect(own.usage.absent[name]).toMatch(/^lost: /);
    }
  });
});
