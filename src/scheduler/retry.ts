// Whether a job is started again after its attempt has ended, and when: pure. A job that somebody cancelled never is.
// The wait doubles with each retry, from the policy's delay to an hour, and is lengthened by up to a quarter, so that
// jobs that failed together do not come back together.
import { isDeepStrictEqual } from 'node:util';
import type { JobResult } from '../protocol/result.ts';
import type { JobSpec, retryCauses } from '../protocol/spec.ts';
import type { AttemptEnd, JobChange, JobRecord, PastAttempt } from './queue/queue.ts';

/** Past attempts that a job's record keeps. */
export const MAX_PAST_ATTEMPTS = 20;
const MAX_DELAY_MS = 3600_000;
const JITTER = 0.25;

export type RetryCause = (typeof retryCauses)[number];

/** What a retry policy calls this end; null for one after which no job is started again. */
export function retryCauseOf(result: Pick<JobResult, 'state' | 'endKind'>): RetryCause | null {
  // These two may come with several states; what ended the job says more.
  if (result.endKind === 'deviceFault') return 'deviceFault';
  if (result.endKind === 'disconnected') return 'disconnected';
  switch (result.state) {
    case 'FAILED':
      return 'failed';
    case 'FAILED_TO_START':
      return 'failedToStart';
    case 'TIMEOUT':
      return 'timeLimit';
    case 'OUT_OF_MEMORY':
      return 'outOfMemory';
    case 'LOST':
      return 'lost';
    case 'COMPLETED':
    case 'CANCELLED':
      return null;
  }
}

/** `random` is uniform in [0, 1). */
export function retryDelayMs(policy: JobSpec['retry'], retries: number, random: number): number {
  const delayMs = Math.min(MAX_DELAY_MS, policy.delayMs * 2 ** Math.min(retries, 30));
  return Math.round(delayMs * (1 + JITTER * random));
}

/** The longest that a job may have been told to wait for its present retry. */
export function longestDelayMs(job: Pick<JobRecord, 'spec' | 'retries'>): number {
  return retryDelayMs(job.spec.retry, Math.max(0, job.retries - 1), 1);
}

/** The change that sends the job back to wait for its next attempt, or null when this end is final. */
export function decideRetry(
  job: JobRecord,
  result: JobResult,
  now: { readonly wallMs: number; readonly random: number },
): JobChange | null {
  const { retry } = job.spec;
  if (isSuperseded(job, result)) return { ...waitsAgain(job, result), notBeforeMs: null };
  const cause = retryCauseOf(result);
  if (job.cancelBy !== null || cause === null || !retry.on.includes(cause) || job.retries >= retry.times)
    return null;
  return {
    ...waitsAgain(job, result),
    retries: job.retries + 1,
    notBeforeMs: now.wallMs + retryDelayMs(retry, job.retries, now.random),
  };
}

/**
 * The scheduler alone stopped it: to order it anew (reconcile.ts), but its node held it after all. Nobody asked for its end,
 * so it is not one.
 */
function isSuperseded(job: JobRecord, { endKind, stoppedBy }: JobResult): boolean {
  return job.cancelBy === null && endKind === 'stopped' && stoppedBy === 'scheduler';
}

function waitsAgain(job: JobRecord, result: JobResult): JobChange {
  return {
    state: 'PENDING',
    nodeId: null,
    devices: [],
    startedAtMs: null,
    attempts: [...job.attempts, pastAttempt(result)].slice(-MAX_PAST_ATTEMPTS),
    reason: '',
  };
}

function pastAttempt(result: JobResult): PastAttempt {
  return { ...attemptEnd(result), usage: result.usage };
}

function attemptEnd(result: JobResult): AttemptEnd {
  const { epoch, nodeId, state, endKind, exitCode, signal, cause } = result;
  const { startedAtMs, endedAtMs, stdoutBytes, stderrBytes } = result;
  return {
    epoch,
    nodeId,
    state,
    endKind,
    exitCode,
    signal,
    cause,
    startedAtMs,
    endedAtMs,
    stdoutBytes,
    stderrBytes,
  };
}

/** The past attempt that a node speaks of, or null. */
export function findAttempt(
  job: Pick<JobRecord, 'attempts'>,
  epoch: number,
  nodeId: string,
): PastAttempt | null {
  return job.attempts.find((past) => past.epoch === epoch && past.nodeId === nodeId) ?? null;
}

/** Whether the result is the one that was written down when the attempt ended. */
export function isSameEnd(past: PastAttempt, result: JobResult): boolean {
  const isSame = Object.entries(attemptEnd(result)).every(
    ([field, value]) => past[field as keyof AttemptEnd] === value,
  );
  return isSame && (past.usage === undefined || isDeepStrictEqual(past.usage, result.usage));
}
