import { describe, expect, test } from 'vitest';
import type { AuditFacts, AuditRecord } from '../../../src/protocol/audit.ts';
import { createAuditedQueue, recordMissing } from '../../../src/scheduler/audited-queue.ts';
import { createOwnResult, lost } from '../../../src/scheduler/own-result.ts';
import type { JobChange, JobRecord, Queue } from '../../../src/scheduler/queue/queue.ts';
import { jobRecord } from './records.ts';

interface Written {
  readonly kind: string;
  readonly facts: AuditFacts;
}

/** A queue of jobs whose disk answers when it is told to. */
function createBed(jobs: readonly JobRecord[] = []) {
  const held = new Map(jobs.map((job) => [job.id, job]));
  const written: Written[] = [];
  let disk: (error?: Error) => void = () => {};
  const stored = (): Promise<void> =>
    new Promise((resolve, reject) => {
      disk = (error) => (error === undefined ? resolve() : reject(error));
    });
  const store = {
    job: (id: string) => held.get(id) ?? null,
    insertJob(job: JobRecord) {
      held.set(job.id, job);
      return stored();
    },
    insertArray(list: readonly JobRecord[]) {
      for (const job of list) held.set(job.id, job);
      return stored();
    },
    updateJob(id: string, change: JobChange) {
      const job = held.get(id);
      if (job !== undefined) held.set(id, { ...job, ...change });
      return stored();
    },
    active: () => [...held.values()].filter(({ state }) => state === 'STARTING' || state === 'RUNNING'),
    pending: () => [...held.values()].filter(({ state }) => state === 'PENDING'),
    counts: () => ({ COMPLETED: 0, FAILED: 0, CANCELLED: 0, LOST: 0 }),
    jobs: ({ state }: { state: string }) => [...held.values()].filter((job) => job.state === state),
  } as unknown as Queue;
  const queue = createAuditedQueue(store, (kind, facts) => written.push({ kind, facts }));
  return {
    store,
    queue,
    written,
    async synced(work: Promise<void>, error?: Error): Promise<void> {
      disk(error);
      await work.catch(() => {});
    },
    kinds: (): string[] => written.map(({ kind }) => kind),
  };
}

const running: JobChange = { state: 'RUNNING', startedAtMs: 10 };
const ordered: JobChange = { state: 'STARTING', epoch: 1, nodeId: 'node-1', devices: ['gpu-1', 'gpu-2'] };

describe('the audit of jobs', () => {
  test('writes one record for each decision, when it is on disk and not before', async () => {
    const bed = createBed();
    const inserted = bed.queue.insertJob(jobRecord({ owner: 'ann' }));
    expect(bed.written).toEqual([]);
    await bed.synced(inserted);
    expect(bed.written).toEqual([
      { kind: 'job.submitted', facts: { jobId: 'job-a', arrayId: null, jobs: 1, by: 'ann' } },
    ]);
    await bed.synced(bed.queue.updateJob('job-a', ordered));
    await bed.synced(bed.queue.updateJob('job-a', running));
    await bed.synced(bed.queue.updateJob('job-a', { cancelBy: 'bob', reason: 'secret words' }));
    const job = bed.store.job('job-a') as JobRecord;
    const result = createOwnResult(job, lost('gone'), 50, { stdoutBytes: 0, stderrBytes: 0 });
    await bed.synced(bed.queue.updateJob('job-a', { state: 'LOST', endedAtMs: 50, result }));
    expect(bed.kinds()).toEqual(['job.submitted', 'job.ordered', 'job.cancelled', 'job.ended']);
    expect(bed.written[1]?.facts).toEqual({
      jobId: 'job-a',
      epoch: 1,
      nodeId: 'node-1',
      devices: 'gpu-1,gpu-2',
    });
    expect(bed.written[3]?.facts).toMatchObject({ state: 'LOST', endKind: 'lost', epoch: 1, final: true });
    expect(JSON.stringify(bed.written)).not.toContain('secret words');
  });

  test('writes nothing for what the store refused', async () => {
    const bed = createBed();
    await bed.synced(bed.queue.insertJob(jobRecord()), new Error('full'));
    expect(bed.written).toEqual([]);
  });

  test('an attempt that is retried, one that its node refused, and one that is ordered again', async () => {
    const bed = createBed([jobRecord({ ...ordered, state: 'RUNNING' })]);
    const past = {
      epoch: 1,
      nodeId: 'node-1',
      state: 'FAILED',
      endKind: 'exit',
      exitCode: 3,
      signal: null,
      cause: '',
      startedAtMs: 1,
      endedAtMs: 2,
      stdoutBytes: 0,
      stderrBytes: 0,
    } as unknown as JobRecord['attempts'][number];
    await bed.synced(bed.queue.updateJob('job-a', { state: 'PENDING', nodeId: null, attempts: [past] }));
    await bed.synced(bed.queue.updateJob('job-a', { ...ordered, epoch: 2 }));
    await bed.synced(bed.queue.updateJob('job-a', { state: 'PENDING', nodeId: null }));
    expect(
      bed.written.map(({ kind, facts }) => [kind, facts.epoch, facts.state ?? null, facts.final ?? null]),
    ).toEqual([
      ['job.ended', 1, 'FAILED', false],
      ['job.ordered', 2, null, null],
      ['job.ended', 2, 'REFUSED', false],
    ]);
  });

  test('an array is one submission; a job from its node, and one at a later attempt, are adopted', async () => {
    const bed = createBed();
    const array = (index: number) => ({ array: { id: 'array-1', index, size: 2 } });
    await bed.synced(
      bed.queue.insertArray([
        jobRecord({ id: 'job-1', ...array(0) }),
        jobRecord({ id: 'job-2', ...array(1) }),
      ]),
    );
    await bed.synced(bed.queue.insertJob(jobRecord({ id: 'job-3', ...ordered, state: 'RUNNING' })));
    await bed.synced(bed.queue.updateJob('job-1', { state: 'RUNNING', epoch: 3, nodeId: 'node-1' }));
    expect(bed.written.map(({ kind, facts }) => [kind, facts.jobId, facts.jobs ?? facts.epoch])).toEqual([
      ['job.submitted', 'job-1', 2],
      ['job.adopted', 'job-3', 1],
      ['job.adopted', 'job-1', 3],
    ]);
  });

  test('after a crash, exactly what the tail lacks is recorded, as late', async () => {
    const at = (ms: number): string => new Date(ms).toISOString();
    const job = jobRecord({ id: 'job-1', submittedAtMs: 10_000, ...ordered, state: 'RUNNING' });
    const done = jobRecord({ id: 'job-2', submittedAtMs: 10_000, ...ordered, epoch: 1 });
    const result = createOwnResult(done, lost('gone'), 11_000, { stdoutBytes: 0, stderrBytes: 0 });
    const ended = { ...done, state: 'LOST', endedAtMs: 11_000, result } as JobRecord;
    const old = jobRecord({
      id: 'job-0',
      submittedAtMs: 500,
      ...ordered,
      state: 'RUNNING',
      startedAtMs: 600,
    });
    const bed = createBed([job, ended, old]);
    const record = (sequence: number, kind: string, facts: AuditFacts): AuditRecord => ({
      sequence,
      at: at(5000 + sequence),
      kind,
      facts,
      previous: '',
    });
    const tail = [
      record(1, 'opened', {}),
      record(2, 'job.submitted', { jobId: 'job-1', arrayId: null }),
      record(3, 'job.submitted', { jobId: 'job-2', arrayId: null }),
      record(4, 'job.ordered', { jobId: 'job-2', epoch: 1 }),
    ];
    const late: Written[] = [];
    expect(recordMissing(bed.store, tail, (kind, facts) => late.push({ kind, facts }))).toBe(2);
    expect(late.map(({ kind, facts }) => [kind, facts.jobId, facts.late])).toEqual([
      ['job.ordered', 'job-1', true],
      ['job.ended', 'job-2', true],
    ]);
    // Of a log that has only just begun, nothing is known to be missing.
    expect(recordMissing(bed.store, [], () => {})).toBe(0);
  });
});
