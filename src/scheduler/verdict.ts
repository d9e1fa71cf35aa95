// Whether what a node tells about a job is to be believed: pure. A node speaks only for itself and for attempts
// that were ordered to it; the first result of an attempt stands.
import { isDeepStrictEqual } from 'node:util';
import { SETTLED_CODE } from '../protocol/control.ts';
import { isFinalState, type JobResult } from '../protocol/result.ts';
import type { JobRecord } from './queue/queue.ts';
import { findAttempt, isSameEnd } from './retry.ts';

export type Verdict =
  /** New and true: write it down, then acknowledge. */
  | 'apply'
  /** Known already: acknowledge again. */
  | 'repeat'
  /** Another result of the same attempt stands: refuse it, record it, and let the agent settle. */
  | 'contradiction'
  /** Of an attempt that has been given up for a later one: refuse it, record it, let the agent settle. */
  | 'stale'
  /** Nobody here knows the job: the agent keeps it. */
  | 'unknown'
  /** Not ordered to this node, or not this attempt: refuse it. */
  | 'foreign';

function decideAttempt(
  job: JobRecord | null,
  epoch: number,
  nodeId: string,
): 'stale' | 'unknown' | 'foreign' | null {
  if (job === null) return 'unknown';
  // Whoever had it: a later attempt was ordered since, maybe to another node.
  if (epoch < job.epoch) return 'stale';
  // It waits for its next attempt: this one was given up.
  if (job.state === 'PENDING' && epoch === job.epoch) return 'stale';
  return job.nodeId !== nodeId || epoch > job.epoch ? 'foreign' : null;
}

export function decideStarted(job: JobRecord | null, epoch: number, nodeId: string): Verdict {
  if (job !== null && findAttempt(job, epoch, nodeId) !== null) return 'repeat';
  const refusal = decideAttempt(job, epoch, nodeId);
  if (refusal !== null || job === null) return refusal ?? 'unknown';
  if (job.state === 'STARTING' || (job.state === 'RUNNING' && job.startedAtMs === null)) return 'apply';
  return 'repeat';
}

export function decideResult(job: JobRecord | null, result: JobResult, nodeId: string): Verdict {
  if (result.nodeId !== nodeId) return 'foreign';
  const past = job === null ? null : findAttempt(job, result.epoch, nodeId);
  if (past !== null) return isSameEnd(past, result) ? 'repeat' : 'contradiction';
  const refusal = decideAttempt(job, result.epoch, nodeId);
  if (refusal !== null || job === null) return refusal ?? 'unknown';
  if (!isFinalState(job.state)) return 'apply';
  return isDeepStrictEqual(job.result, result) ? 'repeat' : 'contradiction';
}

/** How long the streams of an attempt may become; null when it was not ordered to this node. */
export function decideOutputLimits(
  job: JobRecord | null,
  epoch: number,
  nodeId: string,
): { readonly stdoutBytes: number; readonly stderrBytes: number } | null {
  const past = job === null ? null : findAttempt(job, epoch, nodeId);
  if (past !== null) return past;
  if (job?.nodeId !== nodeId || job.epoch !== epoch || job.state === 'PENDING') return null;
  return job.result ?? { stdoutBytes: Number.MAX_SAFE_INTEGER, stderrBytes: Number.MAX_SAFE_INTEGER };
}

/** Attempts that nodes may refuse for reasons that will not pass, before the job is given up. */
export const MAX_REFUSED_ATTEMPTS = 5;

/** The node takes no jobs of whoever submitted this one (submitter-rules.ts): others may. */
export const OF_SUBMITTER = 'ORDER_SUBMITTER';

/** Refusals that say nothing about the job: it waits until the node can take it. */
const PASSING: ReadonlySet<string> = new Set([
  'JOB_NODE_DRAINING',
  'JOB_NO_DURABLE_SPACE',
  'JOB_TOO_MANY',
  'JOB_CPUS_BUSY',
  'JOB_USERS_BUSY',
  'JOB_MEMORY_BUSY',
  'JOB_DEVICE_UNKNOWN',
  'JOB_DEVICE_BUSY',
  'JOB_DEVICE_CORDONED',
  'JOB_DEVICE_UNHEALTHY',
  'JOB_OLDER_EPOCH_RUNS',
  // The order, not the job: signed too long ago, or by clocks or keys that are brought into line.
  'ORDER_EXPIRED',
  'ORDER_NOT_YET',
  'ORDER_KEY_UNKNOWN',
  'RUNNER_AWAY',
  OF_SUBMITTER,
]);

/** Refusals for what this one job asks: they say nothing about the node, which is not paused for them. */
const OF_THE_JOB: ReadonlySet<string> = new Set([
  'JOB_NETWORK_WALL_MISSING',
  'JOB_ORDER_UNFIT',
  'JOB_DEVICES_MISMATCH',
  'JOB_CPUS_EXCEED_NODE',
  'JOB_MEMORY_EXCEEDS_NODE',
  OF_SUBMITTER,
]);

/** A refusal for what the job states of its data: the job waits for a node that may have it. */
export function isOfData(code: string): boolean {
  return code.startsWith('DATA_');
}

export function concernsNode(code: string): boolean {
  return !OF_THE_JOB.has(code) && !isOfData(code);
}

/** Refusals at the door of the node's job room (protocol/order-seal.ts), or before it: they say nothing about the job. */
function isAtDoor(code: string): boolean {
  return code.startsWith('ORDER_') || code.startsWith('RUNNER_') || code === 'JOB_ORDER_UNFIT';
}

/** What a node says when it does not carry out an order. */
export interface OrderRefusal {
  readonly jobId: string;
  readonly epoch: number;
  readonly kind: 'start' | 'stop';
  readonly code: string;
  readonly message: string;
}

/** A clause for the sentence of the job. */
export function describeRefusal(
  job: JobRecord,
  nodeName: string,
  { kind, code, message }: OrderRefusal,
): string {
  if (code === SETTLED_CODE)
    return `it has ended on ${nodeName}, whose result this scheduler has lost after it had acknowledged it`;
  // What nobody wants to end was stopped to be ordered anew.
  if (kind === 'stop' && job.cancelBy === null)
    return `the agent of ${nodeName} was started anew before it took the order`;
  const refused = `${nodeName} refused it (${code}: ${message})`;
  return kind === 'stop' && job.state === 'RUNNING' ? `it was to be stopped, but ${refused}` : refused;
}

/** What becomes of a job whose start or stop order was refused by its node. */
export function decideRefusal(
  job: JobRecord,
  kind: 'start' | 'stop',
  code: string,
): 'ignore' | 'again' | 'lost' | 'cancelled' | 'giveUp' | 'retry' {
  if (isFinalState(job.state) || job.state === 'PENDING') return 'ignore';
  // The store is a copy from before: how it ended nobody knows any more, and it must not run once more for that.
  if (code === SETTLED_CODE) return 'lost';
  // It was not let in at all (clocks or keys that differ): the job may well run on, and is stopped when its node is back.
  const isSuperseded = job.state === 'STARTING' && job.cancelBy === null;
  if (kind === 'stop' && isAtDoor(code)) return isSuperseded ? 'again' : 'ignore';
  // Else only a node that does not know the job refuses to stop it, and will not start it either from then on. What nobody
  // wants to end was ordered to another run of its agent (reconcile.ts): it is ordered anew, with the next epoch.
  if (kind === 'stop') return isSuperseded ? 'retry' : job.state === 'STARTING' ? 'cancelled' : 'lost';
  if (job.state !== 'STARTING') return 'ignore';
  if (job.cancelBy !== null) return 'cancelled';
  const refused = job.epoch - job.retries;
  return PASSING.has(code) || isOfData(code) || refused < MAX_REFUSED_ATTEMPTS ? 'retry' : 'giveUp';
}
