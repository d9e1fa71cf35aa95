// What every queue engine must do when ended jobs are taken out; beside contract.ts.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { memberId } from '../../../../src/protocol/array.ts';
import type { EndedJob, JobRecord, Queue } from '../../../../src/scheduler/queue/queue.ts';
import { fakeResult } from '../../../fakes/agent.ts';
import { type EngineBed, newArray, newJob } from './contract.ts';

const ARRAY = 'arr-7k3m9q2x4t';

export function removalContract(name: string, newBed: () => EngineBed): void {
  describe(`the ${name} queue takes out ended jobs`, () => {
    let bed: EngineBed;
    let queue: Queue;
    beforeEach(async () => {
      bed = newBed();
      queue = await bed.open(2);
    });
    afterEach(async () => {
      await queue.close();
      bed.remove();
    });

    async function insert(count: number, change: Partial<JobRecord> = {}): Promise<JobRecord[]> {
      const jobs = Array.from({ length: count }, () => newJob());
      await Promise.all(jobs.map((job) => queue.insertJob(job)));
      await Promise.all(jobs.map((job) => queue.updateJob(job.id, change)));
      return jobs;
    }
    const idsOf = (jobs: readonly { readonly id: string }[]): string[] => jobs.map(({ id }) => id);
    /** All ended jobs, read in pages of two. */
    function ended(): EndedJob[] {
      const all: EndedJob[] = [];
      for (
        let page = queue.endedJobs(0, 2);
        page.length > 0;
        page = queue.endedJobs(all.at(-1)?.sequence ?? 0, 2)
      )
        all.push(...page);
      return all;
    }

    it('and lists them before, by order of submission, with what decides on them', async () => {
      const done = await insert(2, { state: 'COMPLETED', epoch: 1, nodeId: 'node-a', endedAtMs: 17 });
      await insert(3);
      const [lost] = await insert(1, { state: 'LOST', epoch: 2, nodeId: 'node-b', endedAtMs: 18 });
      const last = await insert(2, { state: 'COMPLETED', epoch: 1, nodeId: 'node-a', endedAtMs: 19 });
      const result = fakeResult('node-b', lost?.id ?? '', { state: 'LOST' });
      await queue.updateJob(lost?.id ?? '', { result });
      expect(idsOf(ended())).toEqual(idsOf([...done, ...(lost ? [lost] : []), ...last]));
      expect(ended()[2]).toMatchObject({
        epoch: 2,
        nodeId: 'node-b',
        endedAtMs: 18,
        array: null,
        attempts: [],
        result,
      });
      expect(queue.endedJobs(0, 3)).toHaveLength(3);
    });

    it('at once from memory, for good from the disk, and nothing else', async () => {
      const jobs = await insert(6, { state: 'COMPLETED', epoch: 1 });
      const [waiting] = await insert(1);
      const [head, ...rest] = ended();
      const gone = queue.removeJobs([...(head ? [head] : []), ...rest.slice(0, 3)]);
      for (let turn = 0; turn < 2; turn += 1) {
        expect(idsOf(queue.jobs({ limit: 9 }))).toEqual(idsOf([waiting, jobs[5], jobs[4]] as JobRecord[]));
        expect(idsOf(queue.jobs({ grouped: true, limit: 9 }))).toEqual(idsOf(queue.jobs({ limit: 9 })));
        expect(idsOf(queue.jobs({ state: 'COMPLETED', limit: 1 }))).toEqual([jobs[5]?.id]);
        expect(queue.job(jobs[0]?.id ?? '')).toBeNull();
        expect(queue.jobsByPrefix(jobs[3]?.id ?? '', 3)).toEqual([]);
        expect(queue.counts()).toMatchObject({ COMPLETED: 2, PENDING: 1 });
        expect(idsOf(ended())).toEqual(idsOf(jobs.slice(4)));
        expect(await gone).toEqual(idsOf(jobs.slice(0, 4)));
        await queue.close();
        queue = await bed.open(2);
      }
      await expect(queue.updateJob(jobs[0]?.id ?? '', { reason: 'x' })).rejects.toMatchObject({
        code: 'QUEUE_JOB_UNKNOWN',
      });
    });

    it('but none that a waiting job was submitted to wait for, until that has gone on', async () => {
      const [first, second] = await insert(2, { state: 'COMPLETED' });
      const follower = newJob({}, { dependencies: [{ job: first?.id, condition: 'completed' }] });
      await queue.insertJob(follower);
      await queue.close();
      queue = await bed.open(2);
      expect([queue.isAwaited(first?.id ?? ''), queue.isAwaited(second?.id ?? '')]).toEqual([true, false]);
      expect(await queue.removeJobs(ended())).toEqual([second?.id]);
      expect(queue.job(first?.id ?? '')?.state).toBe('COMPLETED');
      await queue.updateJob(follower.id, { state: 'CANCELLED' });
      expect(queue.isAwaited(first?.id ?? '')).toBe(false);
      expect(await queue.removeJobs(ended())).toEqual([first?.id, follower.id]);
    });

    it('of an array only all together', async () => {
      await queue.insertArray(newArray(ARRAY, 1, 4));
      const end = (index: number) => queue.updateJob(memberId(ARRAY, index), { state: 'COMPLETED' });
      await Promise.all([1, 2, 3].map(end));
      const [alone] = await insert(1, { state: 'FAILED' });
      const early = ended();
      await end(4);
      const follower = newJob({}, { dependencies: [{ job: ARRAY, condition: 'ended' }] });
      await queue.insertJob(follower);
      expect(await queue.removeJobs(ended())).toEqual([alone?.id]);
      expect(idsOf(early)).not.toContain(memberId(ARRAY, 4));
      await queue.updateJob(follower.id, { state: 'STARTING', epoch: 1, nodeId: 'node-a' });
      const gone = queue.removeJobs(ended());
      for (let turn = 0; turn < 2; turn += 1) {
        expect(queue.array(ARRAY)).toBeNull();
        expect(queue.job(memberId(ARRAY, 1))).toBeNull();
        expect(idsOf(queue.jobs({ grouped: true, limit: 9 }))).toEqual([follower.id]);
        expect(await gone).toHaveLength(4);
        await queue.close();
        queue = await bed.open(2);
      }
    });

    it('and takes one in again that a node brings back, in the same turn as well', async () => {
      const [job] = await insert(1, { state: 'COMPLETED', epoch: 1 });
      const before = queue.job(job?.id ?? '') as JobRecord;
      const gone = queue.removeJobs(ended());
      const back = { ...before, state: 'LOST' as const, reason: 'told again' };
      await Promise.all([gone, queue.insertJob(back)]);
      for (let turn = 0; turn < 2; turn += 1) {
        expect(queue.job(back.id)).toEqual(back);
        expect(queue.counts()).toMatchObject({ COMPLETED: 0, LOST: 1 });
        expect(idsOf(ended())).toEqual([back.id]);
        await queue.close();
        queue = await bed.open(2);
      }
    });
  });
}
