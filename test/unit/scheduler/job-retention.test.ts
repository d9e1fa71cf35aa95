import { describe, expect, test } from 'vitest';
import { createSilentLog } from '../../../src/base/log.ts';
import { memberId } from '../../../src/protocol/array.ts';
import type { AuditFacts } from '../../../src/protocol/audit.ts';
import { isFinalState, type JobState, jobStates } from '../../../src/protocol/result.ts';
import {
  COUNT_PERIOD_MS,
  createJobRetention,
  LEFT_OVER_PERIOD_MS,
  PAGE_JOBS,
} from '../../../src/scheduler/job-retention.ts';
import type { JobRecord, NodeRecord, PastAttempt } from '../../../src/scheduler/queue/queue.ts';
import { fakeResult } from '../../fakes/agent.ts';
import { createHandClock } from '../link/parts.ts';
import { jobRecord, recordsOf } from './records.ts';

const DAY_MS = 24 * 3600 * 1000;
const ARRAY = 'arr-7k3m9q2x4t';

function bench(limits: { readonly keepDays?: number; readonly jobs?: number } = {}) {
  const clock = createHandClock();
  const jobs = new Map<string, JobRecord>();
  const sequences = new Map<string, number>();
  const awaited = new Set<string>();
  const held = new Set<string>();
  const nodes = new Map<string, Partial<NodeRecord>>([['node-a', {}]]);
  const stored = new Map<string, number>();
  const forgotten: string[] = [];
  const audits: AuditFacts[] = [];
  const counted: Record<string, number> = {};
  let failure: object | null = null;
  let isReachable = true;
  let pages = 0;
  const retention = createJobRetention({
    keepMs: (limits.keepDays ?? 90) * DAY_MS,
    jobs: limits.jobs ?? 1000,
    queue: {
      ...recordsOf(jobs),
      endedJobs(after, limit) {
        pages += 1;
        return [...jobs.values()]
          .filter(({ id, state }) => isFinalState(state) && (sequences.get(id) ?? 0) > after)
          .slice(0, limit)
          .map((job) => ({ ...job, sequence: sequences.get(job.id) ?? 0 }));
      },
      isAwaited: (id) => awaited.has(id),
      async removeJobs(gone) {
        for (const { id } of gone) jobs.delete(id);
        return gone.map(({ id }) => id);
      },
      counts() {
        const counts = Object.fromEntries(jobStates.map((state) => [state, 0])) as Record<JobState, number>;
        for (const { state } of jobs.values()) counts[state] += 1;
        return counts;
      },
      node: (id) => (nodes.get(id) as NodeRecord | undefined) ?? null,
      failure: () => failure as never,
    },
    output: {
      lengths: async (id, epoch) => ({ stdoutBytes: stored.get(`${id}.${epoch}`) ?? 0, stderrBytes: 0 }),
      syncedLengths: async (id, epoch) => ({
        stdoutBytes: stored.get(`${id}.${epoch}`) ?? 0,
        stderrBytes: 0,
      }),
      async remove(id, epoch) {
        if (stored.get(`${id}.${epoch}`) === 17) throw new Error('EIO');
        return stored.get(`${id}.${epoch}`) !== 13 && stored.delete(`${id}.${epoch}`);
      },
      async forget(id, epoch) {
        forgotten.push(`${id}.${epoch}`);
      },
    },
    fleet: { isReachable: () => isReachable },
    holds: (nodeId, id, epoch) => held.has(`${nodeId} ${id}.${epoch}`),
    clock,
    log: createSilentLog(),
    audit: (_kind, facts) => audits.push(facts),
    removed(count, why) {
      counted[why] = (counted[why] ?? 0) + count;
    },
  });
  const nowMs = clock.wallMs();
  return {
    clock,
    retention,
    jobs,
    awaited,
    held,
    nodes,
    stored,
    forgotten,
    audits,
    counted,
    pages: () => pages,
    away: () => {
      isReachable = false;
    },
    fail(fault: object | null) {
      failure = fault;
    },
    /** One that ended so many days ago on node-a, by the word of that node. */
    put(id: string, days: number, change: Partial<JobRecord> = {}): void {
      const atMs = nowMs - days * DAY_MS;
      sequences.set(id, sequences.size + 1);
      const epoch = change.epoch ?? 1;
      const state = change.state ?? 'COMPLETED';
      const result = isFinalState(state) ? fakeResult('node-a', id, { epoch, state }) : null;
      const times = { submittedAtMs: atMs, endedAtMs: result === null ? null : atMs };
      jobs.set(id, jobRecord({ id, epoch, state, nodeId: 'node-a', result, ...times, ...change }));
    },
    ids: () => [...jobs.keys()],
  };
}

describe('retention of ended jobs', () => {
  test('removes what ended long ago, with its output, and writes down how many', async () => {
    const { put, retention, ids, stored, forgotten, audits, counted } = bench();
    put('job-old', 100, { epoch: 2 });
    put('job-late', 100, { endedAtMs: 1.7e12 });
    put('job-runs', 100, { state: 'RUNNING' });
    put('job-waits', 100, { state: 'PENDING', epoch: 0, nodeId: null });
    put('job-new', 80);
    stored.set('job-old.1', 5).set('job-old.2', 7).set('job-new.1', 9);
    await retention.sweep();
    expect(ids()).toEqual(['job-late', 'job-runs', 'job-waits', 'job-new']);
    expect([...stored]).toEqual([['job-new.1', 9]]);
    expect(forgotten).toEqual(['job-old.1', 'job-old.2']);
    expect(audits).toEqual([{ jobs: 1, forAge: 1, forNumber: 0 }]);
    expect(counted).toEqual({ age: 1 });
    await retention.close();
  });

  test('by itself soon after the start and every hour, and at once when there are too many', async () => {
    const { put, retention, ids, jobs, clock, counted } = bench({ jobs: 3 });
    put('job-1', 100);
    await clock.advance(COUNT_PERIOD_MS);
    expect(ids()).toEqual([]);
    for (const id of ['job-2', 'job-3', 'job-4', 'job-5']) put(id, 1);
    await clock.advance(COUNT_PERIOD_MS);
    expect(ids()).toEqual(['job-3', 'job-4', 'job-5']);
    expect(counted).toEqual({ age: 1, number: 1 });
    jobs.delete('job-3');
    put('job-6', 100);
    await clock.advance(COUNT_PERIOD_MS);
    expect(ids()).toEqual(['job-4', 'job-5', 'job-6']);
    await clock.advance(3600_000);
    expect(ids()).toEqual(['job-4', 'job-5']);
    await retention.close();
  });

  test('goes through many of them page by page, and does not read on where all are too young', async () => {
    const { put, retention, ids, pages } = bench({ jobs: 10_000 });
    for (let at = 0; at < 3 * PAGE_JOBS; at += 1) put(`job-old${at}`, 100);
    for (let at = 0; at < 9 * PAGE_JOBS; at += 1) put(`job-new${at}`, 1);
    await retention.sweep();
    expect(ids()).toHaveLength(9 * PAGE_JOBS);
    expect(pages()).toBe(4);
    await retention.close();
  });

  test('does not believe that a job ended before it was submitted', async () => {
    const { put, retention, ids } = bench();
    put('job-a', 1, { endedAtMs: 0 });
    await retention.sweep();
    expect(ids()).toEqual(['job-a']);
    await retention.close();
  });

  test('does not read all of them again and again while too many are needed', async () => {
    const { put, retention, ids, awaited, clock, pages } = bench({ jobs: 1 });
    for (const id of ['job-a', 'job-b', 'job-c']) {
      put(id, 1);
      awaited.add(id);
    }
    await clock.advance(COUNT_PERIOD_MS);
    const before = pages();
    await clock.advance(LEFT_OVER_PERIOD_MS - COUNT_PERIOD_MS);
    expect(pages()).toBe(before);
    awaited.clear();
    await clock.advance(COUNT_PERIOD_MS);
    expect(ids()).toEqual(['job-c']);
    await retention.close();
  });

  test('keeps what a waiting job waits for', async () => {
    const { put, retention, ids, awaited } = bench();
    put('job-a', 100);
    put('job-b', 100);
    awaited.add('job-a');
    await retention.sweep();
    expect(ids()).toEqual(['job-a']);
    await retention.close();
  });

  test('removes an array when all of it is due', async () => {
    const { put, retention, ids, jobs, awaited } = bench();
    const member = (index: number, days: number, change: Partial<JobRecord> = {}): void =>
      put(memberId(ARRAY, index), days, { array: { id: ARRAY, index, size: 3 }, ...change });
    member(0, 100);
    member(1, 100, { state: 'RUNNING' });
    member(2, 100);
    put('job-x', 100);
    await retention.sweep();
    expect(ids()).toHaveLength(3);
    const running = memberId(ARRAY, 1);
    const ended = { ...(jobs.get(running) as JobRecord), state: 'FAILED' as const };
    jobs.set(running, { ...ended, endedAtMs: 1.7e12 });
    await retention.sweep();
    expect(ids()).toHaveLength(3);
    jobs.set(running, { ...ended, endedAtMs: 0 });
    awaited.add(ARRAY);
    await retention.sweep();
    expect(ids()).toHaveLength(3);
    awaited.clear();
    await retention.sweep();
    expect(ids()).toEqual([]);
    await retention.close();
  });

  test('removes an array larger than a page', async () => {
    const { put, retention, ids, forgotten } = bench();
    const size = 3 * PAGE_JOBS + 5;
    for (let index = 0; index < size; index += 1)
      put(memberId(ARRAY, index), 100, { array: { id: ARRAY, index, size } });
    await retention.sweep();
    expect(ids()).toEqual([]);
    expect(forgotten).toHaveLength(size);
    await retention.close();
  });

  const given: PastAttempt = {
    epoch: 1,
    nodeId: 'node-a',
    state: 'LOST',
    endKind: 'lost',
    exitCode: null,
    signal: null,
    cause: '',
    startedAtMs: null,
    endedAtMs: 1,
    stdoutBytes: 0,
    stderrBytes: 0,
  };

  test('keeps a job of which a node that is away may still have an attempt, until it is back or removed', async () => {
    const { put, retention, ids, away, nodes } = bench();
    const { usage } = fakeResult('node-a', 'job-x');
    put('job-told', 100);
    put('job-lost', 100, {
      state: 'LOST',
      result: { ...fakeResult('node-a', 'job-lost'), endKind: 'lost', usage: { ...usage, durationMs: null } },
    });
    put('job-again', 100, { epoch: 2, nodeId: 'node-b', attempts: [given] });
    away();
    await retention.sweep();
    expect(ids()).toEqual(['job-lost', 'job-again']);
    nodes.set('node-a', { removedAtMs: 5 });
    await retention.sweep();
    expect(ids()).toEqual([]);
    await retention.close();
  });

  test('keeps a job of which a node that is here has not told the end since it came', async () => {
    const { put, retention, ids, held } = bench();
    put('job-a', 100);
    put('job-b', 100, { epoch: 2, nodeId: 'node-b', attempts: [given] });
    held.add('node-a job-a.1').add('node-a job-b.1');
    await retention.sweep();
    expect(ids()).toEqual(['job-a', 'job-b']);
    held.clear();
    await retention.sweep();
    expect(ids()).toEqual([]);
    await retention.close();
  });

  test('keeps a job whose output has not all come, as long as its node may send it', async () => {
    const { put, retention, ids, stored, nodes } = bench({ keepDays: 0.5 });
    const result = { ...fakeResult('node-a', 'job-a'), stdoutBytes: 9 };
    put('job-a', 1, { result });
    put('job-old', 3, { result });
    stored.set('job-a.1', 8);
    await retention.sweep();
    expect(ids()).toEqual(['job-a']);
    stored.set('job-a.1', 9);
    await retention.sweep();
    expect(ids()).toEqual([]);
    put('job-b', 1, { result });
    nodes.clear();
    await retention.sweep();
    expect(ids()).toEqual([]);
    await retention.close();
  });

  test('keeps a job that was started again until its nodes have surely been answered', async () => {
    const { put, retention, ids, clock } = bench({ keepDays: 1 / 24 / 60 });
    put('job-a', 2 / 24 / 60, { epoch: 2, attempts: [given] });
    await retention.sweep();
    expect(ids()).toEqual(['job-a']);
    await clock.advance(8 * 60_000);
    expect(ids()).toEqual([]);
    await retention.close();
  });

  test('keeps a job whose output cannot be removed, and no other for it', async () => {
    const { put, retention, ids, stored } = bench();
    for (const id of ['job-a', 'job-b', 'job-c']) put(id, 100);
    stored.set('job-b.1', 17);
    await retention.sweep();
    expect(ids()).toEqual(['job-b']);
    stored.delete('job-b.1');
    await retention.sweep();
    expect(ids()).toEqual([]);
    await retention.close();
  });

  test('leaves a job alone whose output is in use, and everything while the store takes nothing', async () => {
    const { put, retention, ids, stored, fail } = bench();
    put('job-a', 100);
    put('job-b', 100);
    stored.set('job-a.1', 13);
    fail({});
    await retention.sweep();
    expect(ids()).toEqual(['job-a', 'job-b']);
    fail(null);
    await retention.sweep();
    expect(ids()).toEqual(['job-a']);
    await retention.close();
  });
});
