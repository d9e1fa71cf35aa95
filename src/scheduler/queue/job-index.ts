// What the embedded queue knows without asking the database: every job that is not final, and the finished ones
// that ended last. Bounded by `finishedLimit`; an older job is read from disk when somebody asks for it.
import { isFinalState, type JobState, jobStates } from '../../protocol/result.ts';
import type { ArrayIndex } from './array-index.ts';
import type { JobRecord } from './queue.ts';
import { createWaitingLine } from './waiting-line.ts';

export interface Indexed {
  readonly job: JobRecord;
  /** Order of submission. */
  readonly sequence: number;
  /** Sequence of the job whose row carries the specification: of an array that was submitted here its first. */
  readonly specOf: number;
}

export interface JobIndex {
  get(id: string): Indexed | null;
  /** Puts a job in, or in place of its earlier record; `forget` takes it out again. */
  put(entry: Indexed): void;
  forget(id: string): void;
  /** Adds jobs that are on disk only to the counts. */
  countElsewhere(state: JobState, jobs: number): void;
  /** Whether a waiting job names this job or array among its dependencies. */
  isAwaited(id: string): boolean;
  /** True when some finished jobs are on disk only. */
  readonly partial: boolean;
  entries(): Iterable<Indexed>;
  pending(): Iterable<JobRecord>;
  active(nodeId?: string): Iterable<JobRecord>;
  counts(): Record<JobState, number>;
}

const isActive = (state: JobState): boolean => state === 'STARTING' || state === 'RUNNING';

export function createJobIndex(finishedLimit: number, arrays: ArrayIndex): JobIndex {
  const jobs = new Map<string, Indexed>();
  const line = createWaitingLine<{ id: string; priority: number; sequence: number }>();
  const activeIds = new Set<string>();
  const activeByNode = new Map<string, Set<string>>();
  /** Finished jobs in the order of their end. */
  const finished = new Set<string>();
  const counts = new Map<JobState, number>(jobStates.map((state) => [state, 0]));
  /** How many waiting jobs name a job or array, those included for whom it has come true: a restart asks again. */
  const awaited = new Map<string, number>();
  let elsewhere = 0;

  function count(state: JobState, difference: number): void {
    counts.set(state, (counts.get(state) ?? 0) + difference);
  }

  function countAwaited(job: JobRecord, difference: 1 | -1): void {
    for (const { job: id } of job.spec.dependencies) {
      const jobs = (awaited.get(id) ?? 0) + difference;
      if (jobs > 0) awaited.set(id, jobs);
      else awaited.delete(id);
    }
  }

  function enter({ job, sequence }: Indexed): void {
    count(job.state, 1);
    if (job.state === 'PENDING') {
      line.add({ id: job.id, priority: job.spec.priority, sequence });
      countAwaited(job, 1);
    } else if (isFinalState(job.state)) finished.add(job.id);
    if (!isActive(job.state)) return;
    activeIds.add(job.id);
    if (job.nodeId === null) return;
    const ofNode = activeByNode.get(job.nodeId);
    if (ofNode === undefined) activeByNode.set(job.nodeId, new Set([job.id]));
    else ofNode.add(job.id);
  }

  function leave(job: JobRecord): void {
    count(job.state, -1);
    if (job.state === 'PENDING') {
      line.remove(job.id);
      countAwaited(job, -1);
    }
    finished.delete(job.id);
    activeIds.delete(job.id);
    const ofNode = job.nodeId === null ? undefined : activeByNode.get(job.nodeId);
    if (ofNode === undefined || job.nodeId === null) return;
    ofNode.delete(job.id);
    if (ofNode.size === 0) activeByNode.delete(job.nodeId);
  }

  /** The oldest finished jobs go to disk only; their count stays. */
  function evict(): void {
    if (finished.size <= finishedLimit) return;
    for (const id of finished) {
      if (finished.size <= finishedLimit) return;
      finished.delete(id);
      jobs.delete(id);
      elsewhere += 1;
    }
  }

  function* records(ids: Iterable<string>): Iterable<JobRecord> {
    for (const id of ids) {
      const entry = jobs.get(id);
      if (entry !== undefined) yield entry.job;
    }
  }

  return {
    get: (id) => jobs.get(id) ?? null,
    put(entry) {
      const before = jobs.get(entry.job.id);
      if (before !== undefined) leave(before.job);
      jobs.set(entry.job.id, entry);
      enter(entry);
      arrays.note(entry.job);
      evict();
    },
    forget(id) {
      const entry = jobs.get(id);
      if (entry === undefined) return;
      leave(entry.job);
      arrays.forget(entry.job);
      jobs.delete(id);
    },
    countElsewhere(state, added) {
      count(state, added);
      elsewhere += added;
    },
    isAwaited: (id) => awaited.has(id),
    get partial() {
      return elsewhere > 0;
    },
    entries: () => jobs.values(),
    *pending() {
      for (const { id } of line) {
        const entry = jobs.get(id);
        if (entry !== undefined) yield entry.job;
      }
    },
    active: (nodeId) => records(nodeId === undefined ? activeIds : (activeByNode.get(nodeId) ?? [])),
    counts: () => Object.fromEntries(counts) as Record<JobState, number>,
  };
}
