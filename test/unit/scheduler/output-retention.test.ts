import { describe, expect, test } from 'vitest';
import { createSilentLog } from '../../../src/base/log.ts';
import type { StoredAttempt } from '../../../src/scheduler/output-folder.ts';
import { createOutputRetention, QUOTA_PERIOD_MS } from '../../../src/scheduler/output-retention.ts';
import type { JobRecord } from '../../../src/scheduler/queue/queue.ts';
import { createHandClock } from '../link/parts.ts';

const DAY_MS = 24 * 3600 * 1000;

function bench(quotaBytes: number | null) {
  const clock = createHandClock();
  const nowMs = clock.wallMs();
  /** Ages of ended jobs in days; null: it still runs. */
  const ages: Record<string, number | null> = {
    'job-old': 40,
    'job-mid': 20,
    'job-new': 1,
    'job-runs': null,
  };
  let stored: StoredAttempt[] = Object.keys(ages).map((jobId) => ({ jobId, epoch: 1, bytes: 100 }));
  let taken = 0;
  let broken: string | null = null;
  const removed: [string, string][] = [];
  const retention = createOutputRetention({
    output: {
      list: async () => stored,
      takenBytes: () => taken,
      async remove(jobId, _epoch, why) {
        if (broken === jobId) throw new Error('EIO');
        stored = stored.filter((one) => one.jobId !== jobId);
        removed.push([jobId, why]);
        return true;
      },
    },
    queue: {
      job(id) {
        const days = ages[id];
        if (days === undefined) return null;
        const endedAtMs = days === null ? null : nowMs - days * DAY_MS;
        return { state: days === null ? 'RUNNING' : 'COMPLETED', endedAtMs, submittedAtMs: 0 } as JobRecord;
      },
    },
    keepMs: 30 * DAY_MS,
    quotaBytes,
    clock,
    log: createSilentLog(),
  });
  return {
    clock,
    retention,
    removed,
    breakOf: (jobId: string) => {
      broken = jobId;
    },
    grow(bytes: number) {
      taken += bytes;
      stored = stored.map((one) => (one.jobId === 'job-runs' ? { ...one, bytes: one.bytes + bytes } : one));
    },
  };
}

describe('retention of output', () => {
  test('removes the rest where one cannot be removed', async () => {
    const { retention, removed, breakOf, clock } = bench(null);
    breakOf('job-old');
    await clock.advance(15 * DAY_MS);
    await retention.sweep();
    expect(removed.map(([jobId]) => jobId)).toContain('job-mid');
    await retention.close();
  });

  test('removes what is older than it is kept, and says so', async () => {
    const { retention, removed } = bench(null);
    await retention.sweep();
    expect(removed).toEqual([
      [
        'job-old',
        expect.stringMatching(/^removed on \d{4}-\d\d-\d\d, 30 days after the end \(output.keepMs\)$/),
      ],
    ]);
    await retention.close();
  });

  test('over the quota, removes that of the job that ended first, and never of one that runs', async () => {
    const { retention, removed } = bench(250);
    await retention.sweep();
    expect(removed.map(([id]) => id)).toEqual(['job-old', 'job-mid']);
    expect(removed[1]?.[1]).toContain('250 bytes (output.quotaBytes)');
    await retention.close();
  });

  test('notices by itself that output has grown beyond the quota', async () => {
    const { retention, removed, clock, grow } = bench(1000);
    await clock.advance(QUOTA_PERIOD_MS);
    expect(removed.map(([id]) => id)).toEqual(['job-old']);
    grow(5000);
    await clock.advance(QUOTA_PERIOD_MS);
    expect(removed.map(([id]) => id)).toEqual(['job-old', 'job-mid', 'job-new']);
    await retention.close();
  });
});
