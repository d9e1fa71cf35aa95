// How much the store of files may hold and for how long, and what of it must stay.
import type { Root } from '../files/sweep.ts';
import type { JobRecord, Queue } from './queue/queue.ts';

export interface FileLimits {
  readonly quotaBytes: number;
  /** From the last use of a file that no job that has not ended needs, and of outputs from the end of their job. */
  readonly keepMs: number;
}

export const defaultFileLimits: FileLimits = {
  quotaBytes: 20 * 1024 ** 3,
  keepMs: 7 * 24 * 3600_000,
};

/** Jobs, newest first, whose outputs the quota cannot push out; older ones are only as safe as their last use. */
const ENDED_JOBS_LOOKED_AT = 10_000;

/** What jobs that have not ended need, and the outputs of those that ended after `sinceMs`. */
export function* fileRoots(queue: Queue, sinceMs: number): Generator<Root> {
  for (const job of queue.pending()) yield* inputsOf(job);
  for (const job of queue.active()) yield* inputsOf(job);
  for (const { result, endedAtMs } of queue.jobs({ limit: ENDED_JOBS_LOOKED_AT })) {
    if (result === null || (endedAtMs ?? 0) < sinceMs) continue;
    for (const { digest, kind } of result.outputs)
      if (digest !== null && kind !== null) yield { digest, kind };
  }
}

function* inputsOf({ spec }: JobRecord): Generator<Root> {
  for (const { digest, kind } of spec.inputs) yield { digest, kind };
}
