// How long stored output stays: removed a stated time after its job has ended, and, where all of it together may
// take only so much, that of the job that ended first goes first. The output of a job that has not ended is never
// removed. What goes leaves a note with the reason (output-folder.ts).
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { isFinalState } from '../protocol/result.ts';
import { endOf } from './job-retention.ts';
import type { OutputStore } from './output.ts';
import type { JobRecord, Queue } from './queue/queue.ts';
import { createSweeps, type Sweeps } from './sweeps.ts';

/** How often the quota is looked at. */
export const QUOTA_PERIOD_MS = 10_000;
/** Share of the quota that is left when it was exceeded, so that not every chunk brings another sweep. */
const LEFT_OF_QUOTA = 0.9;
const MS_PER_DAY = 24 * 3600 * 1000;

export interface OutputRetentionOptions {
  readonly output: Pick<OutputStore, 'list' | 'remove' | 'takenBytes'>;
  readonly queue: Pick<Queue, 'job'>;
  /** From the end of the job. */
  readonly keepMs: number;
  /** All stored output together; null for no limit. */
  readonly quotaBytes: number | null;
  readonly clock: Clock;
  readonly log: Log;
}

/** Begins to look after it; the first sweep comes soon after the start. */
export function createOutputRetention(options: OutputRetentionOptions): Sweeps {
  const { output, queue, keepMs, quotaBytes, clock, log } = options;
  let storedBytes = 0;
  let takenBefore = 0;
  const sweeps = createSweeps({
    keepMs,
    lookMs: QUOTA_PERIOD_MS,
    isTooMuch: () => quotaBytes !== null && storedBytes + output.takenBytes() - takenBefore > quotaBytes,
    once: sweepOnce,
    problem: 'old output cannot be removed',
    clock,
    log,
  });

  async function sweepOnce(): Promise<void> {
    takenBefore = output.takenBytes();
    const stored = await output.list();
    storedBytes = stored.reduce((sum, { bytes }) => sum + bytes, 0);
    const ended = stored
      .map((attempt) => ({ ...attempt, endedAtMs: endOfKnown(queue.job(attempt.jobId)) }))
      .filter((attempt): attempt is typeof attempt & { endedAtMs: number } => attempt.endedAtMs !== null)
      .toSorted((a, b) => a.endedAtMs - b.endedAtMs);
    const nowMs = clock.wallMs();
    const left =
      quotaBytes === null || storedBytes <= quotaBytes
        ? Number.POSITIVE_INFINITY
        : quotaBytes * LEFT_OF_QUOTA;
    let removed = 0;
    for (const { jobId, epoch, bytes, endedAtMs } of ended) {
      const isOld = endedAtMs + keepMs <= nowMs;
      if ((!isOld && storedBytes <= left) || sweeps.isClosed()) break;
      const day = new Date(nowMs).toISOString().slice(0, 10);
      const why = isOld
        ? `removed on ${day}, ${wordsOf(keepMs)} after the end (output.keepMs)`
        : `removed on ${day}: the output of all jobs had reached ${quotaBytes} bytes (output.quotaBytes)`;
      if (!(await output.remove(jobId, epoch, why).catch(sweeps.failed))) continue;
      storedBytes -= bytes;
      removed += 1;
    }
    if (removed > 0) log.info({ removed, storedBytes }, 'removed the output of ended jobs');
    if (storedBytes > left)
      log.warn({ storedBytes, quotaBytes }, 'the output of jobs that have not ended exceeds its quota');
  }

  return sweeps;
}

/** When the job ended; null while it has not. Output of a job that nobody knows stays. */
function endOfKnown(job: JobRecord | null): number | null {
  return job !== null && isFinalState(job.state) ? endOf(job) : null;
}

function wordsOf(durationMs: number): string {
  if (durationMs >= MS_PER_DAY && durationMs % MS_PER_DAY === 0) {
    const days = durationMs / MS_PER_DAY;
    return days === 1 ? 'a day' : `${days} days`;
  }
  return `${durationMs / 1000} s`;
}
