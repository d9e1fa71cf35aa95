// What every queue engine must do. An engine's test calls this with a way to open its store; `open` on the same
// place again must find what was there.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { memberId } from '../../../../src/protocol/array.ts';
import { jobStates } from '../../../../src/protocol/result.ts';
import {
  type JobRecord,
  MAX_DOCUMENT_BYTES,
  type NodeRecord,
  type PastAttempt,
  type Queue,
} from '../../../../src/scheduler/queue/queue.ts';
import { fakeResult } from '../../../fakes/agent.ts';
import { jobRecord } from '../../../unit/scheduler/records.ts';

export interface EngineBed {
  /** Opens the store; small `finishedInMemory` where the engine has such a bound. */
  open(finishedInMemory?: number): Promise<Queue>;
  remove(): void;
}

let made = 0;
export function newJob(change: Partial<JobRecord> = {}, spec: object = {}): JobRecord {
  made += 1;
  const id = `job-${made.toString().padStart(6, '0')}`;
  return jobRecord({ id, submittedAtMs: made, ...change }, spec);
}

export function newArray(id: string, first: number, last: number): JobRecord[] {
  const { spec } = newJob({}, { name: 'each', array: { first, last } });
  const size = last - first + 1;
  return Array.from({ length: size }, (_, at) => ({
    ...newJob({ id: memberId(id, first + at), array: { id, index: first + at, size } }),
    spec,
  }));
}

const pastAttempt: PastAttempt = {
  epoch: 1,
  nodeId: 'node-a',
  state: 'LOST',
  endKind: 'lost',
  exitCode: null,
  signal: null,
  cause: 'the node was rebooted',
  startedAtMs: 5,
  endedAtMs: 6,
  stdoutBytes: 0,
  stderrBytes: 7,
};

export const newNode = (id: string): NodeRecord => ({
  id,
  name: id,
  publicKey: 'AAAA',
  enrolledAtMs: 1,
  generation: 1,
  bootId: 'boot-1',
});

export function queueContract(name: string, newBed: () => EngineBed): void {
  describe(`the ${name} queue keeps the contract`, () => {
    let bed: EngineBed;
    let queue: Queue;
    beforeEach(async () => {
      bed = newBed();
      queue = await bed.open();
    });
    afterEach(async () => {
      await queue.close();
      bed.remove();
    });
    async function reopen(finishedInMemory?: number): Promise<void> {
      await queue.close();
      queue = await bed.open(finishedInMemory);
    }

    it('shows a change at once and has it after opening again', async () => {
      const job = newJob({}, { command: ['sh', '-c', 'echo "é\u2028\\u0000"'], environment: { A: 'ü\n' } });
      const stored = queue.insertJob(job);
      expect(queue.job(job.id)).toEqual(job);
      await stored;
      const updated = queue.updateJob(job.id, { state: 'STARTING', epoch: 1, nodeId: 'node-a' });
      expect(queue.job(job.id)?.state).toBe('STARTING');
      await updated;
      await queue.putNode(newNode('node-a'));
      await reopen();
      expect(queue.job(job.id)).toEqual({ ...job, state: 'STARTING', epoch: 1, nodeId: 'node-a' });
      expect(queue.node('node-a')).toEqual(newNode('node-a'));
    });

    it('keeps documents by kind and id, and what is removed stays away', async () => {
      const value = { name: 'mei \u2028\u0000é', list: [1, null, { deep: true }] };
      const stored = queue.putDocument('user', 'mei', value);
      value.name = 'changed by whoever gave it';
      expect(queue.documents('user').get('mei')).toMatchObject({ name: 'mei \u2028\u0000é' });
      await Promise.all([
        stored,
        queue.putDocument('user', 'lin', 1),
        queue.putDocument('joinToken', 'mei', 2),
      ]);
      await queue.putDocument('user', 'lin', { role: 'viewer' });
      await queue.putDocument('user', 'gone', 3);
      const removed = queue.removeDocument('user', 'gone');
      expect(queue.documents('user').has('gone')).toBe(false);
      await removed;
      await queue.removeDocument('user', 'never-there');
      await reopen();
      expect([...queue.documents('user')].sort()).toEqual([
        ['lin', { role: 'viewer' }],
        ['mei', { ...value, name: 'mei \u2028\u0000é' }],
      ]);
      expect([...queue.documents('joinToken')]).toEqual([['mei', 2]]);
      await expect(queue.putDocument('user', 'long', 'x'.repeat(MAX_DOCUMENT_BYTES))).rejects.toMatchObject({
        code: 'QUEUE_DOCUMENT_TOO_LONG',
      });
      expect(queue.documents('user').has('long')).toBe(false);
    });

    it('keeps a result to the last digit', async () => {
      const job = newJob();
      await queue.insertJob(job);
      const result = fakeResult('node-a', job.id, { endedAtMs: 1_700_000_000_000.125 });
      await queue.updateJob(job.id, { state: 'COMPLETED', result, endedAtMs: result.endedAtMs });
      await reopen();
      expect(queue.job(job.id)?.result).toEqual(result);
    });

    it('orders what waits by priority, then by submission, also for a job that comes back', async () => {
      const jobs = [0, 5, 0, 5, -3].map((priority) => newJob({}, { priority }));
      const [a, b, c, d, e] = jobs.map((job) => job.id);
      await Promise.all(jobs.map((job) => queue.insertJob(job)));
      await queue.updateJob(b ?? '', { state: 'STARTING', epoch: 1, nodeId: 'node-a' });
      await queue.updateJob(b ?? '', { state: 'PENDING', nodeId: null });
      const order = () => [...queue.pending()].map((job) => job.id);
      expect(order()).toEqual([b, d, a, c, e]);
      await reopen();
      expect(order()).toEqual([b, d, a, c, e]);
    });

    it('lists active jobs by node and counts by state', async () => {
      const jobs = [newJob(), newJob(), newJob(), newJob()];
      await Promise.all(jobs.map((job) => queue.insertJob(job)));
      const [a, b, c] = jobs.map((job) => job.id);
      await queue.updateJob(a ?? '', { state: 'STARTING', nodeId: 'node-a', epoch: 1 });
      await queue.updateJob(b ?? '', { state: 'RUNNING', nodeId: 'node-b', epoch: 1 });
      await queue.updateJob(c ?? '', { state: 'LOST' });
      expect([...queue.active()].map((job) => job.id)).toEqual([a, b]);
      expect([...queue.active('node-b')].map((job) => job.id)).toEqual([b]);
      await reopen();
      expect([...queue.active('node-a')].map((job) => job.id)).toEqual([a]);
      expect(queue.counts()).toMatchObject({ PENDING: 1, STARTING: 1, RUNNING: 1, LOST: 1, COMPLETED: 0 });
      expect(Object.keys(queue.counts()).sort()).toEqual([...jobStates].sort());
    });

    it('lists the newest first, by state and limit, and finds by the start of an id, whatever memory has let go of', async () => {
      await reopen(3);
      const jobs = Array.from({ length: 12 }, () => newJob());
      await Promise.all(jobs.map((job) => queue.insertJob(job)));
      const ids = jobs.map((job) => job.id);
      const finish = ids.slice(0, 9).map((id) => queue.updateJob(id, { state: 'COMPLETED' }));
      for (let turn = 0; turn < 2; turn += 1) {
        expect(queue.jobs({ limit: 5 }).map((job) => job.id)).toEqual(ids.slice(-5).reverse());
        expect(queue.jobs({ state: 'COMPLETED', limit: 100 }).map((job) => job.id)).toEqual(
          ids.slice(0, 9).reverse(),
        );
        expect(queue.jobs({ state: 'PENDING', limit: 100 }).map((job) => job.state)).toEqual([
          'PENDING',
          'PENDING',
          'PENDING',
        ]);
        expect(queue.job(ids[0] ?? '')?.state).toBe('COMPLETED');
        expect(queue.jobsByPrefix(ids[0] ?? '', 5)).toHaveLength(1);
        expect(queue.jobsByPrefix('job-', 5)).toHaveLength(5);
        expect(queue.counts()).toMatchObject({ COMPLETED: 9, PENDING: 3 });
        await Promise.all(finish);
        await reopen(3);
      }
      // A finished job that is on disk only can still be changed, and is counted once.
      await queue.updateJob(ids[0] ?? '', { reason: 'noted' });
      expect(queue.counts()).toMatchObject({ COMPLETED: 9, PENDING: 3 });
    });

    it('takes an array at once, counts its jobs by state, and has them in order of index after opening again', async () => {
      await reopen(2);
      const before = newJob();
      await queue.insertJob(before);
      const jobs = newArray('arr-7k3m9q2x4t', 3, 8);
      const stored = queue.insertArray(jobs);
      expect(queue.array('arr-7k3m9q2x4t')?.count('PENDING')).toBe(6);
      await stored;
      await expect(queue.insertArray(jobs)).rejects.toMatchObject({ code: 'QUEUE_JOB_EXISTS' });
      const after = newJob();
      await queue.insertJob(after);
      for (const index of [3, 4, 7]) {
        await queue.updateJob(memberId('arr-7k3m9q2x4t', index), { state: 'COMPLETED', epoch: 1 });
      }
      await queue.updateJob(memberId('arr-7k3m9q2x4t', 5), {
        retries: 1,
        notBeforeMs: 17,
        attempts: [pastAttempt],
      });
      for (let turn = 0; turn < 2; turn += 1) {
        const tally = queue.array('arr-7k3m9q2x4t');
        expect(tally).toMatchObject({ id: 'arr-7k3m9q2x4t', first: 3, size: 6 });
        expect([
          tally?.count('PENDING'),
          tally?.count('COMPLETED'),
          tally?.state(4),
          tally?.state(9),
        ]).toEqual([3, 3, 'COMPLETED', null]);
        const listed = queue.jobs({ array: 'arr-7k3m9q2x4t', limit: 100 });
        expect(listed.map((job) => job.array?.index)).toEqual([3, 4, 5, 6, 7, 8]);
        expect(listed[2]).toMatchObject({ retries: 1, notBeforeMs: 17, attempts: [pastAttempt] });
        expect(new Set(listed.map((job) => job.spec.name))).toEqual(new Set(['each']));
        expect(queue.jobs({ array: 'arr-7k3m9q2x4t', state: 'COMPLETED', limit: 2 })).toHaveLength(2);
        const grouped = (filter: object) =>
          queue.jobs({ grouped: true, limit: 10, ...filter }).map((job) => job.array?.id ?? job.id);
        expect(grouped({})).toEqual([after.id, 'arr-7k3m9q2x4t', before.id]);
        expect(grouped({ state: 'COMPLETED' })).toEqual(['arr-7k3m9q2x4t']);
        expect(grouped({ limit: 2 })).toEqual([after.id, 'arr-7k3m9q2x4t']);
        expect(queue.arraysByPrefix('arr-7k', 5)).toEqual(['arr-7k3m9q2x4t']);
        expect(queue.arraysByPrefix('arr-8', 5)).toEqual([]);
        expect(queue.array('arr-8888888888')).toBeNull();
        await reopen(2);
      }
    });

    it('takes single jobs of an array as nodes bring them back, each with its own specification', async () => {
      const jobs = newArray('arr-7k3m9q2x4t', 0, 9);
      const [low, high] = [jobs[2], jobs[7]] as [JobRecord, JobRecord];
      await queue.insertJob(high);
      expect(queue.array('arr-7k3m9q2x4t')).toMatchObject({ first: 7, last: 7, size: 1 });
      await queue.insertJob(newJob());
      await queue.insertJob(low);
      for (let turn = 0; turn < 2; turn += 1) {
        expect(queue.array('arr-7k3m9q2x4t')).toMatchObject({ first: 2, last: 7, size: 2 });
        expect(queue.job(low.id)).toEqual(low);
        expect(queue.jobs({ array: 'arr-7k3m9q2x4t', limit: 9 })).toEqual([low, high]);
        expect(queue.jobs({ grouped: true, limit: 9 })).toHaveLength(2);
        await reopen();
      }
    });

    it('knows nothing of strangers and takes no id twice', async () => {
      const job = newJob();
      await queue.insertJob(job);
      await expect(queue.insertJob(job)).rejects.toMatchObject({ code: 'QUEUE_JOB_EXISTS' });
      await expect(queue.updateJob('job-none', { state: 'LOST' })).rejects.toMatchObject({
        code: 'QUEUE_JOB_UNKNOWN',
      });
      expect(queue.job('job-none')).toBeNull();
      expect(queue.node('node-none')).toBeNull();
      expect(queue.failure()).toBeNull();
    });

    it('stores what nobody waits for when it closes, and takes nothing afterwards', async () => {
      const job = newJob();
      void queue.insertJob(job);
      void queue.updateJob(job.id, { reason: 'soon' }, 'soon');
      await reopen();
      expect(queue.job(job.id)?.reason).toBe('soon');
      await queue.close();
      await expect(queue.insertJob(newJob())).rejects.toMatchObject({ code: 'QUEUE_CLOSED' });
    });
  });
}
