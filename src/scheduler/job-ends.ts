// How attempts end: with the result that a node told, or with one that the scheduler writes because no agent will.
// Either is the job's end, or sends it back to wait for its next attempt (retry.ts decides).
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { isFinalState, type JobResult } from '../protocol/result.ts';
import type { SchedulerHit } from './fault-points.ts';
import type { OutputStore } from './output.ts';
import { createOwnResult, type OwnEnd } from './own-result.ts';
import type { JobChange, JobRecord, Queue } from './queue/queue.ts';
import { decideRetry } from './retry.ts';

export interface JobEndParts {
  readonly queue: Queue;
  readonly output: OutputStore;
  readonly clock: Clock;
  readonly log: Log;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  readonly hit: SchedulerHit;
  change(jobId: string, fields: JobChange): Promise<unknown>;
  /** The job has ended. */
  left(job: JobRecord): void;
  /** The job waits for its next attempt and holds nothing. */
  back(job: JobRecord): void;
}

export interface JobEnds {
  /** Ends an attempt of which no agent will tell the end. Resolves when that is on disk. */
  end(job: JobRecord, end: OwnEnd): Promise<void>;
  /** Resolves when the result is on disk. */
  finish(job: JobRecord, result: JobResult): Promise<void>;
}

export function createJobEnds(parts: JobEndParts): JobEnds {
  const { queue, output, clock, log } = parts;

  async function finish(job: JobRecord, result: JobResult): Promise<void> {
    const again = decideRetry(job, result, { wallMs: clock.wallMs(), random: parts.random() });
    const stored = parts.change(
      job.id,
      again ?? {
        state: result.state,
        startedAtMs: result.startedAtMs ?? job.startedAtMs,
        endedAtMs: result.endedAtMs,
        result,
        notBeforeMs: null,
        reason: '',
      },
    );
    parts.hit('result.asked');
    // In the same turn, so that the next assignment shares the commit. A change that was refused changes nothing.
    const present = queue.job(job.id);
    if (present === null || isFinalState(present.state)) parts.left(present ?? job);
    else if (present.state === 'PENDING') {
      log.info(
        {
          jobId: job.id,
          epoch: job.epoch,
          state: result.state,
          cause: result.cause,
          retries: present.retries,
        },
        'job waits to be started again',
      );
      parts.back(present);
    }
    await stored;
    parts.hit('result.stored');
  }

  return {
    finish,
    async end(job, ownEnd) {
      const lengths = await output
        .syncedLengths(job.id, job.epoch)
        .catch(() => ({ stdoutBytes: 0, stderrBytes: 0 }));
      const present = queue.job(job.id);
      if (present === null || present.epoch !== job.epoch || !isActive(present)) return;
      const result = createOwnResult(present, ownEnd, clock.wallMs(), lengths);
      log.info(
        { jobId: job.id, epoch: job.epoch, state: result.state, cause: result.cause },
        'attempt ended by the scheduler',
      );
      await finish(present, result);
    },
  };
}

function isActive({ state }: JobRecord): boolean {
  return state === 'STARTING' || state === 'RUNNING';
}
