// One user, and all of them together, can fill neither the line nor the memory of the scheduler.
import { expect, test } from 'vitest';
import { jobSpecSchema } from '../../../src/protocol/spec.ts';
import type { JobRecord } from '../../../src/scheduler/queue/queue.ts';
import { createWaitingLedger } from '../../../src/scheduler/waiting-ledger.ts';
import { createHandClock } from '../link/parts.ts';
import { jobRecord } from './records.ts';

const spec = (length: number) => jobSpecSchema.parse({ version: 1, command: ['x'.repeat(length)] });
const full = expect.objectContaining({ code: 'QUEUE_FULL' });

function open(waiting: JobRecord[] = []) {
  let nowMs = 0;
  const ledger = createWaitingLedger({
    queue: { pending: () => waiting, counts: () => ({ PENDING: waiting.length }) as never },
    clock: { ...createHandClock(), monotonicMs: () => nowMs },
    limits: { jobs: 10, bytes: 10_000, share: 0.5 },
  });
  const take = (owner: string, length: number, jobs = 1): void =>
    ledger.take(owner, { spec: spec(length), submission: null }, jobs);
  const pass = (ms: number): void => {
    nowMs += ms;
  };
  return { take, pass };
}

test('a user has a share of the bytes and of the jobs, and another has theirs', () => {
  const { take } = open();
  take('mei', 4000);
  expect(() => take('mei', 1000)).toThrow(full);
  take('lin', 1, 5);
  expect(() => take('lin', 1)).toThrow(full);
});

test('what waited before this start counts, and what is signed counts with its text', () => {
  const submission = { text: 'y'.repeat(4000), publicKey: '', signedAtMs: 0, signature: '' };
  const { take } = open([jobRecord({ owner: 'mei', spec: spec(1), submission })]);
  expect(() => take('mei', 1000)).toThrow(full);
  take('lin', 1000);
});

test('the jobs of an array count their specification once', () => {
  const member = (index: number): JobRecord =>
    jobRecord({ owner: 'mei', spec: spec(2000), array: { id: 'arr-1', index, size: 3 } });
  const { take } = open([member(0), member(1), member(2)]);
  take('mei', 2000);
});

test('what has left is found when it is counted anew, which is not done again and again', () => {
  const { take, pass } = open();
  take('mei', 4000);
  expect(() => take('mei', 4000)).toThrow(full);
  pass(2000);
  take('mei', 4000);
  expect(() => take('mei', 4000)).toThrow(full);
});
