// What a submission becomes: one record, or one for each job of an array. They share the specification.
import type { Clock } from '../base/clock.ts';
import { Fault } from '../base/fault.ts';
import { createId } from '../base/id.ts';
import { inSlices, nextTurn } from '../base/turns.ts';
import { isArrayId, memberId } from '../protocol/array.ts';
import type { JobSpec } from '../protocol/spec.ts';
import type { DataRules } from './data-rules.ts';
import type { SchedulerHit } from './fault-points.ts';
import { requireFit } from './orders.ts';
import type { JobRecord, JobSubmission, Queue } from './queue/queue.ts';
import { createWaitingLedger } from './waiting-ledger.ts';

/** Throws Fault JOB_DEPENDENCY_UNKNOWN for an id that is not here. */
export function checkDependencies(spec: JobSpec, queue: Pick<Queue, 'job' | 'array'>): void {
  for (const [at, { job }] of spec.dependencies.entries()) {
    if ((isArrayId(job) ? queue.array(job) : queue.job(job)) !== null) continue;
    throw new Fault('JOB_DEPENDENCY_UNKNOWN', `there is no job or array ${job} to wait for`, {
      field: `dependencies.${at}.job`,
      remedy: 'name one that has been submitted; see the list of jobs',
    });
  }
}

/** How many jobs it makes. */
export function jobCount({ array }: JobSpec): number {
  return array === null ? 1 : array.last - array.first + 1;
}

/** The records, in order of index, with ids that are not taken. */
export function createRecords(
  spec: JobSpec,
  queue: Pick<Queue, 'job' | 'array'>,
  submittedAtMs: number,
  by: SubmittedBy,
): readonly [JobRecord, ...JobRecord[]] {
  const record = (id: string, array: JobRecord['array']): JobRecord => ({
    id,
    spec,
    submission: by.submission ?? null,
    array,
    state: 'PENDING',
    submittedAtMs,
    owner: by.owner,
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
  });
  const { array } = spec;
  if (array === null) {
    let id = createId('job');
    while (queue.job(id) !== null) id = createId('job');
    return [record(id, null)];
  }
  let id = createId('arr');
  while (queue.array(id) !== null) id = createId('arr');
  const size = jobCount(spec);
  const member = (index: number): JobRecord => record(memberId(id, index), { id, index, size });
  const rest = Array.from({ length: size - 1 }, (_, at) => member(array.first + 1 + at));
  return [member(array.first), ...rest];
}

/** Who submits. */
export interface SubmittedBy {
  readonly owner: string | null;
  /** What they signed; without it, nothing. */
  readonly submission?: JobSubmission | null;
}

/** More records than this are made in one turn of the event loop and put into the queue in the next. */
const MADE_AT_ONCE = 1000;
/** New jobs that are looked at in one turn. */
const TAKEN_AT_ONCE = 500;

export interface SubmissionParts {
  readonly queue: Queue;
  readonly clock: Clock;
  readonly data: Pick<DataRules, 'requireKept'>;
  readonly hit: SchedulerHit;
  /** Jobs have come, in this order. They are not on disk yet. */
  come(jobs: readonly JobRecord[]): void;
  /** These of them wait from now on; of many, some a turn. */
  taken(jobs: readonly JobRecord[]): void;
  /** They could not be stored: they have never been there. */
  refused(jobs: readonly JobRecord[]): void;
}

export interface Submissions {
  /** Resolves when the job, or every job of the array, is on disk; to the first of them. */
  submit(spec: JobSpec, by: SubmittedBy): Promise<JobRecord>;
}

export function createSubmissions({
  queue,
  clock,
  data,
  hit,
  come,
  taken,
  refused,
}: SubmissionParts): Submissions {
  const ledger = createWaitingLedger({ queue, clock });

  async function take(jobs: readonly JobRecord[]): Promise<void> {
    if (jobs.length > TAKEN_AT_ONCE) await nextTurn();
    // One of a later turn may have been cancelled or refused by then.
    const isWaiting = ({ id }: JobRecord): boolean => queue.job(id)?.state === 'PENDING';
    await inSlices(jobs, TAKEN_AT_ONCE, (some) => taken(some.filter(isWaiting)));
  }

  return {
    async submit(spec, by) {
      hit('submit.received');
      const failure = queue.failure();
      if (failure !== null) throw failure;
      checkDependencies(spec, queue);
      const submitted = { spec, submission: by.submission ?? null };
      requireFit(submitted);
      data.requireKept(spec);
      ledger.take(by.owner, submitted, jobCount(spec));
      const jobs = createRecords(spec, queue, clock.wallMs(), by);
      const [first] = jobs;
      if (jobs.length > MADE_AT_ONCE) {
        await nextTurn();
        // What nobody waits for yet may have been removed meanwhile (job-retention.ts).
        checkDependencies(spec, queue);
      }
      const stored = first.array === null ? queue.insertJob(first) : queue.insertArray(jobs);
      come(jobs);
      const taking = take(jobs);
      try {
        await stored;
      } catch (error) {
        await taking;
        refused(jobs);
        throw error;
      }
      hit('submit.stored');
      return queue.job(first.id) ?? first;
    },
  };
}
