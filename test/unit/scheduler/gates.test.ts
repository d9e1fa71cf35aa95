import { describe, expect, it } from 'vitest';
import type { JobState } from '../../../src/protocol/result.ts';
import { createGates, type Gates } from '../../../src/scheduler/gates.ts';
import type { JobRecord } from '../../../src/scheduler/queue/queue.ts';
import { createFakeClock } from '../job/fake-clock.ts';
import { jobRecord, recordsOf } from './records.ts';

const ARRAY = 'arr-7k3m9q2x4t';

function bed() {
  const jobs = new Map<string, JobRecord>();
  const clock = createFakeClock();
  const passed: string[] = [];
  const refused: string[] = [];
  let places = 0;
  const put = (job: JobRecord): JobRecord => {
    jobs.set(job.id, job);
    return job;
  };
  const gates: Gates = createGates({
    queue: recordsOf(jobs),
    clock,
    pass: (job) => passed.push(job.id),
    refuse(job, cause) {
      refused.push(`${job.id}: ${cause}`);
      gates.left(put({ ...job, state: 'CANCELLED', reason: cause }));
    },
    place() {
      places += 1;
    },
  });
  return {
    gates,
    clock,
    passed,
    refused,
    places: () => places,
    put,
    array(size: number, maxRunning: number): JobRecord[] {
      const { spec } = jobRecord({}, { array: { first: 0, last: size - 1, maxRunning } });
      return Array.from({ length: size }, (_, index) =>
        put({ ...jobRecord({ id: `m-${index}`, array: { id: ARRAY, index, size } }), spec }),
      );
    },
    end(id: string, state: JobState = 'COMPLETED') {
      const job = jobs.get(id);
      if (job !== undefined) gates.left(put({ ...job, state }));
    },
  };
}

describe('the gates before placement', () => {
  it('let a job that waits for nothing pass at once', () => {
    const { gates, put, passed } = bed();
    const job = put(jobRecord());
    gates.wait(job);
    expect(passed).toEqual(['job-a']);
    expect(gates.reason(job)).toBeNull();
  });

  it('let so many of an array pass at a time, the lowest index next, also after a restart with some running', () => {
    const { gates, array, passed, end, put } = bed();
    const members = array(6, 2);
    gates.active(put({ ...(members[1] as JobRecord), state: 'RUNNING' }));
    for (const member of [...members].reverse()) if (member.id !== 'm-1') gates.wait(member);
    expect(passed).toEqual(['m-5']);
    expect(gates.reason(members[0] as JobRecord)).toBe(
      `waiting: ${ARRAY} may have 2 of its 6 jobs with nodes at a time; this one is next`,
    );
    expect(gates.reason(members[4] as JobRecord)).toMatch(/; 3 of its jobs are ahead$/);
    end('m-1');
    end('m-5');
    expect(passed).toEqual(['m-5', 'm-0', 'm-2']);
    end('m-3', 'CANCELLED');
    end('m-0');
    expect(passed).toEqual(['m-5', 'm-0', 'm-2', 'm-4']);
  });

  it('hold a job back until its next attempt is due, whatever the wall clock does, and give its slot to another', () => {
    const { gates, array, passed, clock, put, places } = bed();
    const [first, second] = array(2, 1) as [JobRecord, JobRecord];
    gates.wait(first);
    gates.wait(second);
    expect(passed).toEqual(['m-0']);
    const retry = { ...first.spec, retry: { times: 3, on: ['failed' as const], delayMs: 4000 } };
    const back = put({
      ...first,
      spec: retry,
      epoch: 1,
      retries: 1,
      notBeforeMs: clock.wallMs() + 4000,
    });
    gates.wait(back);
    expect(passed).toEqual(['m-0', 'm-1']);
    expect(gates.reason(back)).toBe('waiting: started again in 4 s');
    clock.advance(3999);
    expect(places()).toBe(0);
    clock.advance(1);
    expect(places()).toBe(1);
    expect(gates.reason(back)).toMatch(/this one is next$/);
    gates.left(put({ ...second, state: 'COMPLETED' }));
    expect(passed).toEqual(['m-0', 'm-1', 'm-0']);
  });

  it('wait no longer than the longest back-off when the wall clock was set back meanwhile', () => {
    const { gates, passed, clock, put } = bed();
    const spec = { retry: { times: 3, on: ['failed'], delayMs: 1000 } };
    gates.wait(put(jobRecord({ epoch: 2, retries: 2, notBeforeMs: clock.wallMs() + 3_600_000 * 24 }, spec)));
    clock.advance(2500);
    expect(passed).toEqual(['job-a']);
  });

  it('end a long chain of jobs that wait for each other, without a deep stack', () => {
    const { gates, put, refused, end } = bed();
    put(jobRecord({ id: 'job-0', state: 'RUNNING' }));
    const LENGTH = 5000;
    for (let n = 1; n <= LENGTH; n += 1)
      gates.wait(put(jobRecord({ id: `job-${n}` }, { dependencies: [{ job: `job-${n - 1}` }] })));
    end('job-0', 'FAILED');
    expect(refused).toHaveLength(LENGTH);
    expect(refused[0]).toBe(
      'job-1: never started: it was to wait until job-0 had completed, which ended as FAILED',
    );
  });

  it('ask nothing of dependencies for a job that has run before, and cancel the wait of one that leaves', () => {
    const { gates, put, passed, refused, clock, end } = bed();
    put(jobRecord({ id: 'job-x', state: 'FAILED' }));
    const spec = { dependencies: [{ job: 'job-x' }], retry: { times: 1 } };
    gates.wait(put(jobRecord({ epoch: 1 }, spec)));
    expect(passed).toEqual(['job-a']);
    gates.wait(
      put(jobRecord({ id: 'job-b', epoch: 1, retries: 1, notBeforeMs: clock.wallMs() + 500 }, spec)),
    );
    end('job-b', 'CANCELLED');
    clock.advance(5000);
    expect(passed).toEqual(['job-a']);
    expect(refused).toEqual([]);
  });
});
