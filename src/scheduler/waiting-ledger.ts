// How much of the scheduler's memory jobs that wait may take, in all and of one user: they are kept there whole, however
// long their specifications are, and read back at the next start. What is counted is added up as it is submitted and
// counted anew when it seems too much, since jobs leave in many ways.
import type { Clock } from '../base/clock.ts';
import { Fault } from '../base/fault.ts';
import type { JobSpec } from '../protocol/spec.ts';
import type { JobRecord, Queue } from './queue/queue.ts';

export interface WaitingLimits {
  /** Jobs that may wait at the same time. */
  readonly jobs: number;
  /** Text of their specifications. */
  readonly bytes: number;
  /** Of both, what one user may have. */
  readonly share: number;
}

/** A hundred thousand jobs of ordinary length take a fifth of it. */
export const waitingLimits: WaitingLimits = { jobs: 100_000, bytes: 256 * 1024 * 1024, share: 0.5 };

/** Counting anew looks at every job. */
const COUNT_MS = 2000;

export interface WaitingLedger {
  /** There may be so many jobs more, of one specification: throws Fault QUEUE_FULL. */
  take(owner: string | null, job: Pick<JobRecord, 'spec' | 'submission'>, jobs: number): void;
}

interface Sum {
  jobs: number;
  bytes: number;
}

export interface WaitingLedgerParts {
  readonly queue: Pick<Queue, 'pending' | 'counts'>;
  readonly clock: Pick<Clock, 'monotonicMs'>;
  readonly limits?: WaitingLimits;
}

export function createWaitingLedger({
  queue,
  clock,
  limits = waitingLimits,
}: WaitingLedgerParts): WaitingLedger {
  const users = new Map<string | null, Sum>();
  const all: Sum = { jobs: 0, bytes: 0 };
  let countedAtMs = Number.NEGATIVE_INFINITY;

  function add(owner: string | null, jobs: number, bytes: number): void {
    const sum = users.get(owner) ?? { jobs: 0, bytes: 0 };
    users.set(owner, sum);
    for (const one of [sum, all]) {
      one.jobs += jobs;
      one.bytes += bytes;
    }
  }

  function count(): void {
    users.clear();
    Object.assign(all, { jobs: 0, bytes: 0 });
    /** The jobs of an array share their specification. */
    const arrays = new Set<string>();
    for (const { owner, array, spec, submission } of queue.pending()) {
      const isShared = array !== null && arrays.has(array.id);
      if (array !== null) arrays.add(array.id);
      add(owner, 1, isShared ? 0 : bytesOf({ spec, submission }));
    }
    countedAtMs = clock.monotonicMs();
  }

  function excess(owner: string | null, jobs: number, bytes: number): Fault | null {
    const remedy = { remedy: 'submit it again later' };
    if (queue.counts().PENDING + jobs > limits.jobs)
      return new Fault('QUEUE_FULL', `no more than ${limits.jobs} jobs may wait at the same time`, remedy);
    if (all.bytes + bytes > limits.bytes)
      return new Fault('QUEUE_FULL', 'the specifications of the jobs that wait are too long in all', {
        remedy: 'submit it again later; put long data into files, and those into the inputs of jobs',
      });
    const own = users.get(owner) ?? { jobs: 0, bytes: 0 };
    const isTooMany = own.jobs + jobs > limits.jobs * limits.share;
    if (isTooMany || own.bytes + bytes > limits.bytes * limits.share)
      return new Fault(
        'QUEUE_FULL',
        isTooMany
          ? `no more than ${limits.jobs * limits.share} jobs of one user may wait at the same time`
          : `the specifications of the jobs of ${owner ?? 'this user'} that wait are too long in all`,
        remedy,
      );
    return null;
  }

  return {
    take(owner, job, jobs) {
      const bytes = bytesOf(job);
      if (countedAtMs === Number.NEGATIVE_INFINITY) count();
      let fault = excess(owner, jobs, bytes);
      if (fault !== null && clock.monotonicMs() - countedAtMs >= COUNT_MS) {
        count();
        fault = excess(owner, jobs, bytes);
      }
      if (fault !== null) throw fault;
      add(owner, jobs, bytes);
    },
  };
}

/** About how long a specification is, without writing it down. */
function bytesOf({ spec, submission }: Pick<JobRecord, 'spec' | 'submission'>): number {
  return lengthOf(spec) + (submission?.text.length ?? 0);
}

function lengthOf({ command, environment, inputs, outputs, dependencies }: JobSpec): number {
  let length = 256 + inputs.length * 128 + dependencies.length * 64;
  for (const text of [...command, ...outputs]) length += text.length + 3;
  for (const { path } of inputs) length += path.length;
  for (const [name, value] of Object.entries(environment)) length += name.length + value.length + 6;
  return length;
}
