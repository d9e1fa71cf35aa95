// Cancelling jobs and arrays. A stop order goes out at once, where there is somebody to send it to: it needs no record.
// The answer to whoever asked waits for the disk, but not for long: a full disk takes nothing for a while.
import { type Clock, waited } from '../base/clock.ts';
import { Fault } from '../base/fault.ts';
import { inSlices } from '../base/turns.ts';
import { isFinalState, jobStates } from '../protocol/result.ts';
import { MAX_ARRAY_JOBS } from '../protocol/spec.ts';
import type { SchedulerHit } from './fault-points.ts';
import type { Fleet } from './fleet.ts';
import type { JobChange, JobRecord, Queue } from './queue/queue.ts';

/** How long the answer to a cancellation waits for the disk. */
export const CANCEL_STORE_MS = 1000;

/** Jobs of an array that are cancelled in one turn of the event loop. */
const CANCELLED_AT_ONCE = 250;

const byIndex = (a: JobRecord, b: JobRecord): number => (a.array?.index ?? 0) - (b.array?.index ?? 0);

export interface CancellationParts {
  readonly queue: Queue;
  readonly fleet: Pick<Fleet, 'session'>;
  readonly clock: Clock;
  readonly hit: SchedulerHit;
  /** The job's assignment is not on disk yet: it is looked at when it is. */
  isAssigning(jobId: string): boolean;
  change(jobId: string, fields: JobChange): Promise<unknown>;
  /** Ends a job that is with no node; resolves when that is on disk. */
  endUnstarted(jobId: string, by: string, reason: string): Promise<void>;
  /** Makes many changes before work is looked for. */
  together<T>(work: () => T): T;
  inBackground(work: Promise<unknown>, what: string): void;
}

export interface Cancellations {
  cancel(jobId: string, by: string, reason: string): Promise<JobRecord>;
  cancelArray(arrayId: string, by: string, reason: string): Promise<void>;
}

export function createCancellations(parts: CancellationParts): Cancellations {
  const { queue, fleet, clock, hit } = parts;

  /** Waits for a change, but no longer than the answer to a client may take. */
  async function withinBound(stored: Promise<unknown>): Promise<void> {
    parts.inBackground(stored, 'a cancellation was not stored');
    await Promise.race([stored, waited(clock, queue.failure() === null ? CANCEL_STORE_MS : 0)]);
  }

  /** Resolves when the wish is on disk. */
  async function cancelNow(job: JobRecord, by: string, reason: string): Promise<void> {
    if (job.state === 'PENDING') {
      const words = reason === '' ? '' : `: ${reason}`;
      await parts.endUnstarted(job.id, by, `cancelled by ${by} while it waited${words}`);
      return;
    }
    const session = job.nodeId === null || parts.isAssigning(job.id) ? null : fleet.session(job.nodeId);
    session?.order({ kind: 'stop', job, by, reason });
    await parts.change(job.id, { cancelBy: by, reason });
  }

  return {
    async cancel(jobId, by, reason) {
      const job = queue.job(jobId);
      if (job === null) throw new Fault('QUEUE_JOB_UNKNOWN', `there is no job ${jobId}`);
      hit('cancel.received');
      if (isFinalState(job.state) || job.cancelBy !== null) return job;
      await withinBound(cancelNow(job, by, reason));
      hit('cancel.stored');
      return queue.job(jobId) ?? job;
    },
    async cancelArray(arrayId, by, reason) {
      if (queue.array(arrayId) === null) throw new Fault('QUEUE_JOB_UNKNOWN', `there is no array ${arrayId}`);
      hit('cancel.received');
      const stored: Promise<void>[] = [];
      const cancelOne = ({ id }: JobRecord): void => {
        const job = queue.job(id);
        if (job === null || isFinalState(job.state) || job.cancelBy !== null) return;
        const cancelled = cancelNow(job, by, reason);
        // Waited for below, maybe some turns later.
        cancelled.catch(() => {});
        stored.push(cancelled);
      };
      // What waits goes first, and of that what is next in line, so that nothing of it takes the place of what is stopped.
      const jobs = jobStates
        .filter((state) => !isFinalState(state))
        .flatMap((state) => [...queue.jobs({ array: arrayId, state, limit: MAX_ARRAY_JOBS })].sort(byIndex));
      await inSlices(jobs, CANCELLED_AT_ONCE, (some) => parts.together(() => some.forEach(cancelOne)));
      await withinBound(Promise.all(stored));
      hit('cancel.stored');
    },
  };
}
