// What jobs wait for other jobs: who waits for whom, and whether that has come true. Only ids that exist may be waited
// for, so that no two jobs can wait for each other. The jobs of an array often wait for the same: what is asked of a
// job or array is looked at once for all who ask it, when one of its jobs has ended.
import { isArrayId } from '../protocol/array.ts';
import { finalStates, isFinalState, type JobState } from '../protocol/result.ts';
import type { JobSpec } from '../protocol/spec.ts';
import type { JobRecord, Queue } from './queue/queue.ts';

export type Dependency = JobSpec['dependencies'][number];

/** met: as asked · never: it ended in another way, or is not known any more · waits: it has not ended */
export type Outcome = 'met' | 'never' | 'waits';

export function decideDependency(
  { job: id, condition }: Dependency,
  queue: Pick<Queue, 'job' | 'array'>,
): Outcome {
  if (!isArrayId(id)) {
    const job = queue.job(id);
    if (job === null) return 'never';
    if (!isFinalState(job.state)) return 'waits';
    return condition === 'ended' || (condition === 'completed') === (job.state === 'COMPLETED')
      ? 'met'
      : 'never';
  }
  const tally = queue.array(id);
  if (tally === null) return 'never';
  const completed = tally.count('COMPLETED');
  const ended = finalStates.reduce((sum, state) => sum + tally.count(state), 0);
  if (condition === 'completed' && ended > completed) return 'never';
  if (ended < tally.size) return 'waits';
  return condition === 'failed' && completed === tally.size ? 'never' : 'met';
}

export interface Dependencies {
  /** Where it is `waits`, `settle` tells when that changes. */
  wait(job: JobRecord): Outcome;
  /** The job waits no longer. */
  forget(jobId: string): void;
  isWaiting(jobId: string): boolean;
  /** What has changed for those who wait for this job or its array, now that it has ended. */
  settle(ended: Pick<JobRecord, 'id' | 'array'>): { readonly met: string[]; readonly never: string[] };
}

/** Characters of another job's cause that are told. */
const CAUSE_SHOWN = 120;
const conditions: readonly Dependency['condition'][] = ['completed', 'failed', 'ended'];
const keyOf = ({ job, condition }: Dependency): string => `${job} ${condition}`;

export function createDependencies(queue: Pick<Queue, 'job' | 'array'>): Dependencies {
  /** By what is waited for. */
  const waiters = new Map<string, Set<string>>();
  /** By who waits: what has not come true yet. */
  const open = new Map<string, Set<string>>();

  function forget(jobId: string): void {
    for (const key of open.get(jobId) ?? []) {
      const waiting = waiters.get(key);
      waiting?.delete(jobId);
      if (waiting?.size === 0) waiters.delete(key);
    }
    open.delete(jobId);
  }

  return {
    wait(job) {
      const keys = new Set<string>();
      for (const one of job.spec.dependencies) {
        const outcome = decideDependency(one, queue);
        if (outcome === 'never') return 'never';
        if (outcome === 'waits') keys.add(keyOf(one));
      }
      if (keys.size === 0) return 'met';
      open.set(job.id, keys);
      for (const key of keys) {
        const waiting = waiters.get(key);
        if (waiting === undefined) waiters.set(key, new Set([job.id]));
        else waiting.add(job.id);
      }
      return 'waits';
    },
    forget,
    isWaiting: (jobId) => open.has(jobId),
    settle({ id, array }) {
      const met: string[] = [];
      const never: string[] = [];
      for (const job of array === null ? [id] : [id, array.id]) {
        for (const condition of conditions) {
          const key = keyOf({ job, condition });
          const waiting = waiters.get(key);
          if (waiting === undefined) continue;
          const outcome = decideDependency({ job, condition }, queue);
          if (outcome === 'waits') continue;
          for (const jobId of [...waiting]) {
            const keys = open.get(jobId);
            if (outcome === 'met' && keys !== undefined && keys.size > 1) {
              keys.delete(key);
              continue;
            }
            forget(jobId);
            (outcome === 'met' ? met : never).push(jobId);
          }
          waiters.delete(key);
        }
      }
      return { met, never };
    },
  };
}

const verbs: Readonly<Record<Dependency['condition'], { readonly to: string; readonly had: string }>> = {
  completed: { to: 'to complete', had: 'completed' },
  failed: { to: 'to fail', had: 'failed' },
  ended: { to: 'to end', had: 'ended' },
};

/** A clause: what the job waits for, with how that stands. */
export function describeWait(
  dependencies: readonly Dependency[],
  queue: Pick<Queue, 'job' | 'array'>,
): string {
  const open = dependencies.filter((one) => decideDependency(one, queue) === 'waits');
  const [first] = open;
  if (first === undefined) return 'for its dependencies to be looked at';
  const more = open.length > 1 ? `, and for ${open.length - 1} more` : '';
  return `for ${first.job} ${verbs[first.condition].to}, which ${describeStand(first.job, queue)}${more}`;
}

function describeStand(id: string, queue: Pick<Queue, 'job' | 'array'>): string {
  if (!isArrayId(id)) return `is ${queue.job(id)?.state ?? 'unknown'}`;
  const tally = queue.array(id);
  if (tally === null) return 'is unknown';
  const ended = finalStates.reduce((sum, state) => sum + tally.count(state), 0);
  return `has ${ended} of ${tally.size} jobs ended`;
}

/** A sentence: why a job that waited for others is not started at all. */
export function describeNever(
  dependencies: readonly Dependency[],
  queue: Pick<Queue, 'job' | 'array'>,
): string {
  const failed = dependencies.find((one) => decideDependency(one, queue) === 'never');
  if (failed === undefined) return 'never started: what it waited for cannot come true';
  const { job, condition } = failed;
  return `never started: it was to wait until ${job} had ${verbs[condition].had}, which ${describeEnd(job, queue)}`;
}

function describeEnd(id: string, queue: Pick<Queue, 'job' | 'array'>): string {
  const job = isArrayId(id) ? null : queue.job(id);
  if (job !== null) {
    const cause = job.result?.cause ?? job.reason;
    return `ended as ${job.state}${cause === '' ? '' : ` (${cause.length > CAUSE_SHOWN ? `${cause.slice(0, CAUSE_SHOWN)}…` : cause})`}`;
  }
  const tally = isArrayId(id) ? queue.array(id) : null;
  if (tally === null) return 'is not known any more';
  const ends = finalStates.filter((state: JobState) => tally.count(state) > 0);
  return `has jobs that ended as ${ends.map((state) => `${state} (${tally.count(state)})`).join(', ')}`;
}
