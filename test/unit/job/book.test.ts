import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createBook, SETTLED } from '../../../src/job/book.ts';
import { CLOSED_MAX } from '../../../src/job/closed-names.ts';
import { settleJob } from '../../../src/job/settle.ts';
import { processEnd, startOrder } from './samples.ts';

const resultOf = (jobId: string, epoch: number) =>
  settleJob({
    jobId,
    epoch,
    nodeId: 'node-1',
    order: null,
    end: processEnd(),
    stop: null,
    granted: null,
    walled: null,
    outputQuotaBytes: null,
    meter: null,
    energy: { absent: 'x' },
  });

describe('book', () => {
  test('made again from its own records it is the same, whatever happened before, and records may come twice', () => {
    const job = fc.integer({ min: 1, max: 4 }).map((n) => `job-${n}`);
    const epoch = fc.integer({ min: 1, max: 3 });
    const step = fc.tuple(
      fc.constantFrom('accept', 'began', 'stop', 'result', 'acknowledge', 'close'),
      job,
      epoch,
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const book = createBook();
        for (const [kind, jobId, at] of steps) {
          if (kind === 'accept') book.replay({ kind: 'accepted', order: startOrder(jobId, at), bootId: 'b' });
          if (kind === 'began') book.replay({ kind: 'began', jobId, epoch: at });
          if (kind === 'stop') book.replay({ kind: 'stop', jobId, epoch: at, by: 'a', reason: 'r' });
          if (kind === 'result') book.replay({ kind: 'result', result: resultOf(jobId, at) });
          if (kind === 'acknowledge') book.replay({ kind: 'acknowledged', jobId, epoch: at });
          if (kind === 'close') book.close(jobId, at, { code: SETTLED, message: 'm' });
        }
        const records = [...book.records()];
        const again = createBook();
        for (const record of [...records, ...records])
          expect(again.replay(JSON.parse(JSON.stringify(record)))).toBe(true);
        const sorted = (of: Iterable<object>) => [...of].map((record) => JSON.stringify(record)).sort();
        expect(sorted(again.records())).toEqual(sorted(records));
        for (const [, jobId] of steps) expect(again.highestEpoch(jobId)).toBe(book.highestEpoch(jobId));
      }),
    );
  });

  test('that an attempt was seen to run outlives a restart', () => {
    const book = createBook();
    book.replay({ kind: 'accepted', order: startOrder('job-1', 1), bootId: 'b' });
    expect(book.find('job-1', 1)?.began).toBe(false);
    book.replay({ kind: 'began', jobId: 'job-1', epoch: 1 });
    const again = createBook();
    for (const record of book.records()) again.replay(record);
    expect(again.find('job-1', 1)?.began).toBe(true);
  });

  test('the first result stays', () => {
    const book = createBook();
    const attempt = book.add({ jobId: 'job-1', epoch: 1, order: null, bootId: null, granted: null });
    const first = resultOf('job-1', 1);
    expect([book.setResult(attempt, first), book.setResult(attempt, resultOf('job-1', 1))]).toEqual([
      true,
      false,
    ]);
    expect(attempt.result).toBe(first);
  });

  test('remembers a bounded number of closed attempts, the latest', () => {
    const book = createBook();
    for (let i = 0; i <= CLOSED_MAX; i += 1) book.close(`job-${i}`, 1, { code: SETTLED, message: '' });
    expect(book.closed('job-0', 1)).toBeNull();
    expect(book.closed('job-1', 1)).not.toBeNull();
    expect([book.highestEpoch('job-0'), book.highestEpoch(`job-${CLOSED_MAX}`)]).toEqual([0, 1]);
  });
});
