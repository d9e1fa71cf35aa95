import { describe, expect, it } from 'vitest';
import { endKinds, finalStates, type JobResult } from '../../../src/protocol/result.ts';
import type { PastAttempt } from '../../../src/scheduler/queue/queue.ts';
import {
  decideRetry,
  findAttempt,
  isSameEnd,
  MAX_PAST_ATTEMPTS,
  retryCauseOf,
  retryDelayMs,
} from '../../../src/scheduler/retry.ts';
import { fakeResult } from '../../fakes/agent.ts';
import { jobRecord } from './records.ts';

const now = { wallMs: 1_000_000, random: 0 };
const failed = (change: Partial<JobResult> = {}) => fakeResult('node-a', 'job-a', { exitCode: 3, ...change });
const policy = (change: object = {}) => ({ retry: { times: 2, on: ['failed'], delayMs: 1000, ...change } });
const running = { state: 'RUNNING', epoch: 1, nodeId: 'node-a' } as const;

describe('a retry', () => {
  it.each([
    [{ state: 'FAILED', endKind: 'exited' }, 'failed'],
    [{ state: 'FAILED', endKind: 'signalled' }, 'failed'],
    [{ state: 'FAILED', endKind: 'deviceFault' }, 'deviceFault'],
    [{ state: 'FAILED_TO_START', endKind: 'failedToStart' }, 'failedToStart'],
    [{ state: 'TIMEOUT', endKind: 'timeLimit' }, 'timeLimit'],
    [{ state: 'OUT_OF_MEMORY', endKind: 'outOfMemory' }, 'outOfMemory'],
    [{ state: 'CANCELLED', endKind: 'disconnected' }, 'disconnected'],
    [{ state: 'LOST', endKind: 'lost' }, 'lost'],
    [{ state: 'CANCELLED', endKind: 'stopped' }, null],
    [{ state: 'COMPLETED', endKind: 'exited' }, null],
  ] as const)('calls %j by the name %s', (end, cause) => {
    expect(retryCauseOf(end)).toBe(cause);
  });

  it('comes only after the ends that were named, and as often as was asked', () => {
    expect(decideRetry(jobRecord(running, policy()), failed(), now)).toMatchObject({
      state: 'PENDING',
      nodeId: null,
      retries: 1,
      notBeforeMs: now.wallMs + 1000,
    });
    expect(decideRetry(jobRecord(running, policy({ on: ['lost'] })), failed(), now)).toBeNull();
    expect(decideRetry(jobRecord({ ...running, retries: 2 }, policy()), failed(), now)).toBeNull();
    expect(decideRetry(jobRecord(running), failed(), now)).toBeNull();
  });

  it('never comes after somebody cancelled the job, however it ended', () => {
    for (const state of finalStates)
      for (const endKind of endKinds) {
        const job = jobRecord(
          { ...running, cancelBy: 'user' },
          policy({ on: ['failed', 'lost', 'timeLimit'] }),
        );
        expect(decideRetry(job, failed({ state, endKind }), now)).toBeNull();
      }
  });

  it('waits twice as long each time, up to an hour, and up to a quarter more', () => {
    const { retry } = jobRecord({}, policy()).spec;
    expect([0, 1, 2, 5, 50].map((retries) => retryDelayMs(retry, retries, 0))).toEqual([
      1000, 2000, 4000, 32_000, 3_600_000,
    ]);
    expect(retryDelayMs(retry, 0, 0.999)).toBe(1250);
  });

  it('keeps what happened before, the last so many', () => {
    let job = jobRecord(running, policy({ times: 100 }));
    for (let epoch = 1; epoch <= MAX_PAST_ATTEMPTS + 3; epoch += 1) {
      const change = decideRetry({ ...job, epoch }, failed({ epoch, cause: `end ${epoch}` }), now);
      job = { ...job, ...change };
    }
    expect(job.attempts).toHaveLength(MAX_PAST_ATTEMPTS);
    expect(job.attempts[0]).toMatchObject({ epoch: 4, nodeId: 'node-a', state: 'FAILED', cause: 'end 4' });
    expect(job.retries).toBe(MAX_PAST_ATTEMPTS + 3);
    const past = findAttempt(job, 4, 'node-a');
    expect(past !== null && isSameEnd(past, failed({ epoch: 4, cause: 'end 4' }))).toBe(true);
    expect(past !== null && isSameEnd(past, failed({ epoch: 4, cause: 'end 4', exitCode: 0 }))).toBe(false);
    expect(findAttempt(job, 4, 'node-b')).toBeNull();
  });

  it('keeps what each attempt used, and tells a repeated end from another also without that', () => {
    const { usage } = failed();
    const first = failed({ usage: { ...usage, cpuUserSeconds: 1.5 } });
    const { attempts = [] } = decideRetry(jobRecord(running, policy()), first, now) ?? {};
    const [past] = JSON.parse(JSON.stringify(attempts)) as PastAttempt[];
    if (past === undefined) throw new Error('no attempt was kept');
    expect(past.usage).toEqual(first.usage);
    expect(isSameEnd(past, first)).toBe(true);
    expect(isSameEnd(past, { ...first, usage: { ...usage, cpuUserSeconds: 2 } })).toBe(false);
    const { usage: _, ...ofOlder } = past;
    expect(isSameEnd(ofOlder, first)).toBe(true);
    expect(isSameEnd(ofOlder, { ...first, exitCode: 4 })).toBe(false);
  });
});
