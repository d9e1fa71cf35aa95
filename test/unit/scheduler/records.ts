// Job records as tests need them.
import { jobSpecSchema } from '../../../src/protocol/spec.ts';
import type { ArrayTally, JobRecord, Queue } from '../../../src/scheduler/queue/queue.ts';

export function jobRecord(change: Partial<JobRecord> = {}, spec: object = {}): JobRecord {
  return {
    id: 'job-a',
    spec: jobSpecSchema.parse({ version: 1, command: ['true'], ...spec }),
    submission: null,
    array: null,
    state: 'PENDING',
    submittedAtMs: 0,
    owner: null,
    epoch: 0,
    nodeId: null,
    devices: [],
    startedAtMs: null,
    endedAtMs: null,
    retries: 0,
    attempts: [],
    notBeforeMs: null,
    cancelBy: null,
    result: null,
    reason: '',
    ...change,
  };
}

/** What a decision asks of the queue: jobs by id, and arrays by what their jobs have in common. */
export function recordsOf(jobs: Map<string, JobRecord>): Pick<Queue, 'job' | 'array'> {
  return {
    job: (id) => jobs.get(id) ?? null,
    array(id): ArrayTally | null {
      const members = [...jobs.values()].filter((job) => job.array?.id === id);
      const [first] = members;
      if (first === undefined) return null;
      return {
        id,
        first: first.array?.index ?? 0,
        last: members.at(-1)?.array?.index ?? 0,
        size: members.length,
        state: (index) => members.find((job) => job.array?.index === index)?.state ?? null,
        count: (state) => members.filter((job) => job.state === state).length,
      };
    },
  };
}
