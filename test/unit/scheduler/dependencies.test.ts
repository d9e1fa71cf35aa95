import { describe, expect, it } from 'vitest';
import type { JobState } from '../../../src/protocol/result.ts';
import {
  createDependencies,
  type Dependency,
  decideDependency,
  describeNever,
  describeWait,
} from '../../../src/scheduler/dependencies.ts';
import type { JobRecord } from '../../../src/scheduler/queue/queue.ts';
import { jobRecord, recordsOf } from './records.ts';

const ARRAY = 'arr-7k3m9q2x4t';

function bed() {
  const jobs = new Map<string, JobRecord>();
  const put = (
    id: string,
    state: JobState,
    change: Partial<JobRecord> = {},
    spec: object = {},
  ): JobRecord => {
    const job = jobRecord({ id, state, ...change }, spec);
    jobs.set(id, job);
    return job;
  };
  const array = (states: readonly JobState[]): void => {
    for (const [index, state] of states.entries())
      put(`m-${index}`, state, { array: { id: ARRAY, index, size: states.length } });
  };
  const queue = recordsOf(jobs);
  return { put, array, queue, dependencies: createDependencies(queue) };
}

describe('a dependency', () => {
  it.each([
    ['PENDING', 'waits', 'waits', 'waits'],
    ['RUNNING', 'waits', 'waits', 'waits'],
    ['COMPLETED', 'met', 'never', 'met'],
    ['FAILED', 'never', 'met', 'met'],
    ['CANCELLED', 'never', 'met', 'met'],
    ['LOST', 'never', 'met', 'met'],
  ] as const)('on a job that is %s is decided', (state, completed, failed, ended) => {
    const { put, queue } = bed();
    put('job-x', state);
    const decide = (condition: Dependency['condition']) =>
      decideDependency({ job: 'job-x', condition }, queue);
    expect([decide('completed'), decide('failed'), decide('ended')]).toEqual([completed, failed, ended]);
  });

  it.each([
    [['COMPLETED', 'RUNNING'], 'waits', 'waits', 'waits'],
    [['FAILED', 'RUNNING'], 'never', 'waits', 'waits'],
    [['COMPLETED', 'COMPLETED'], 'met', 'never', 'met'],
    [['COMPLETED', 'LOST'], 'never', 'met', 'met'],
  ] as const)('on an array with %j is decided for all of it', (states, completed, failed, ended) => {
    const { array, queue } = bed();
    array(states);
    const decide = (condition: Dependency['condition']) => decideDependency({ job: ARRAY, condition }, queue);
    expect([decide('completed'), decide('failed'), decide('ended')]).toEqual([completed, failed, ended]);
  });

  it('that nobody knows never comes true', () => {
    const { queue } = bed();
    expect(decideDependency({ job: 'job-none', condition: 'ended' }, queue)).toBe('never');
    expect(decideDependency({ job: ARRAY, condition: 'ended' }, queue)).toBe('never');
  });
});

describe('jobs that wait for others', () => {
  it('are told of once, when the last of what they wait for has come true', () => {
    const { put, dependencies } = bed();
    const [a, b] = [put('job-a', 'RUNNING'), put('job-b', 'RUNNING')];
    const waiting = put(
      'job-w',
      'PENDING',
      {},
      {
        dependencies: [
          { job: 'job-a', condition: 'completed' },
          { job: 'job-b', condition: 'ended' },
          { job: 'job-b', condition: 'ended' },
        ],
      },
    );
    expect(dependencies.wait(waiting)).toBe('waits');
    put('job-a', 'COMPLETED');
    expect(dependencies.settle(a)).toEqual({ met: [], never: [] });
    put('job-b', 'FAILED');
    expect(dependencies.settle(b)).toEqual({ met: ['job-w'], never: [] });
    expect(dependencies.settle(b)).toEqual({ met: [], never: [] });
    expect(dependencies.isWaiting('job-w')).toBe(false);
  });

  it('are given up at the first that can never come true, and forgotten when they leave', () => {
    const { put, dependencies } = bed();
    const a = put('job-a', 'RUNNING');
    const spec = { dependencies: [{ job: 'job-a', condition: 'completed' }] };
    expect(dependencies.wait(put('job-v', 'PENDING', {}, spec))).toBe('waits');
    expect(dependencies.wait(put('job-w', 'PENDING', {}, spec))).toBe('waits');
    dependencies.forget('job-v');
    put('job-a', 'TIMEOUT');
    expect(dependencies.settle(a)).toEqual({ met: [], never: ['job-w'] });
    expect(dependencies.wait(put('job-late', 'PENDING', {}, spec))).toBe('never');
  });

  it('on an array are looked at for all of them together, and only when it has ended', () => {
    const { put, array, queue, dependencies } = bed();
    array(['COMPLETED', 'RUNNING']);
    const spec = { dependencies: [{ job: ARRAY, condition: 'completed' }] };
    for (let n = 0; n < 3; n += 1) dependencies.wait(put(`job-${n}`, 'PENDING', {}, spec));
    const member = (index: number) => ({ id: `m-${index}`, array: { id: ARRAY, index, size: 2 } });
    expect(dependencies.settle(member(0))).toEqual({ met: [], never: [] });
    expect(describeWait(jobRecord({}, spec).spec.dependencies, queue)).toBe(
      `for ${ARRAY} to complete, which has 1 of 2 jobs ended`,
    );
    array(['COMPLETED', 'COMPLETED']);
    expect(dependencies.settle(member(1)).met).toEqual(['job-0', 'job-1', 'job-2']);
  });

  it('say what they wait for, and why they will never start', () => {
    const { put, queue } = bed();
    put('job-a', 'RUNNING');
    put('job-b', 'FAILED', { reason: 'x'.repeat(500) });
    const { dependencies } = jobRecord(
      {},
      {
        dependencies: [
          { job: 'job-a', condition: 'ended' },
          { job: 'job-b', condition: 'completed' },
        ],
      },
    ).spec;
    expect(describeWait(dependencies, queue)).toBe('for job-a to end, which is RUNNING');
    expect(describeNever(dependencies, queue)).toBe(
      `never started: it was to wait until job-b had completed, which ended as FAILED (${'x'.repeat(120)}…)`,
    );
  });
});
