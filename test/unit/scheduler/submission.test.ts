import { describe, expect, it } from 'vitest';
import { jobSpecSchema } from '../../../src/protocol/spec.ts';
import type { JobRecord, Queue } from '../../../src/scheduler/queue/queue.ts';
import { createSubmissions } from '../../../src/scheduler/submission.ts';
import { createHandClock } from '../link/parts.ts';
import { jobRecord, recordsOf } from './records.ts';

/** A submission to a queue that has these jobs. */
function open(jobs: Map<string, JobRecord>) {
  const taken: JobRecord[] = [];
  let inserted = 0;
  async function insertArray(members: readonly JobRecord[]): Promise<void> {
    inserted += 1;
    for (const job of members) jobs.set(job.id, job);
  }
  const queue = {
    ...recordsOf(jobs),
    insertArray,
    failure: () => null,
    pending: () => [],
    counts: () => ({ PENDING: 0 }),
  } as unknown as Queue;
  const { submit } = createSubmissions({
    queue,
    clock: createHandClock(),
    data: { requireKept() {} },
    hit() {},
    come() {},
    taken: (some) => void taken.push(...some),
    refused() {},
  });
  return { submit, taken, inserted: () => inserted };
}

const specOf = (jobs: number) =>
  jobSpecSchema.parse({
    version: 1,
    command: ['true'],
    array: { first: 0, last: jobs - 1 },
    dependencies: [{ job: 'job-before', condition: 'ended' }],
  });
const withEarlier = () => new Map([['job-before', jobRecord({ id: 'job-before', state: 'COMPLETED' })]]);

describe('a long array', () => {
  it('is refused when what it was to wait for is removed before it waits', async () => {
    const jobs = withEarlier();
    const { submit, inserted } = open(jobs);
    const submitted = submit(specOf(1500), { owner: null });
    jobs.delete('job-before');
    await expect(submitted).rejects.toMatchObject({ code: 'JOB_DEPENDENCY_UNKNOWN' });
    expect(inserted()).toBe(0);
  });

  it('is taken some jobs a turn, in order, but for those that were cancelled by then', async () => {
    const jobs = withEarlier();
    const { submit, taken } = open(jobs);
    const first = await submit(specOf(1500), { owner: null });
    const gone = [...jobs.values()].at(-1);
    if (gone !== undefined) jobs.set(gone.id, { ...gone, state: 'CANCELLED' });
    await expect.poll(() => taken.length).toBe(1499);
    expect(taken.map(({ array }) => array?.index)).toEqual(Array.from({ length: 1499 }, (_, at) => at));
    expect(first.array?.index).toBe(0);
  });
});
