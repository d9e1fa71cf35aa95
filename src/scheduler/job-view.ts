// A job as clients see it: the record, its sentence, and how much output there is.
import type { AttemptView, JobView } from '../protocol/api.ts';
import { leaseOverAfterMs } from '../protocol/lease.ts';
import { isFinalState } from '../protocol/result.ts';
import type { DataRules } from './data-rules.ts';
import type { Dispatcher } from './dispatcher.ts';
import type { Fleet } from './fleet.ts';
import { HEARTBEAT_MS } from './gateway.ts';
import { placeOf } from './node-credentials.ts';
import type { OutputStore } from './output.ts';
import { nothingUsed } from './own-result.ts';
import type { ProgressBoard } from './progress.ts';
import type { JobRecord, PastAttempt, Queue } from './queue/queue.ts';
import { describeSeconds } from './words.ts';

const NOT_WRITTEN_DOWN = 'an older flopd, which did not keep it, wrote this attempt down';

export interface ViewParts {
  readonly fleet: Fleet;
  readonly dispatcher: Pick<Dispatcher, 'waitingReason'>;
  readonly output: OutputStore;
  readonly queue: Pick<Queue, 'failure' | 'node'>;
  readonly data: Pick<DataRules, 'ruleOf'>;
  readonly progress: ProgressBoard;
}

/** `members` where it stands for several of its array. */
export async function jobView(
  job: JobRecord,
  parts: ViewParts,
  members: string | null = null,
): Promise<JobView> {
  const { fleet, output } = parts;
  const lengths =
    job.epoch === 0 ? { stdoutBytes: 0, stderrBytes: 0 } : await output.lengths(job.id, job.epoch);
  return {
    id: job.id,
    name: job.spec.name,
    state: job.state,
    reason: describeRow(job, parts, members),
    spec: job.spec,
    hidden: false,
    owner: job.owner,
    node: job.nodeId === null ? null : { id: job.nodeId, name: fleet.name(job.nodeId) },
    epoch: job.epoch,
    devices: job.devices,
    cancelRequested: job.cancelBy !== null,
    submittedAt: stamp(job.submittedAtMs) ?? new Date(0).toISOString(),
    startedAt: stamp(job.startedAtMs),
    endedAt: stamp(job.endedAtMs),
    result: job.result,
    array: job.array,
    members,
    dataRule: parts.data.ruleOf(job, placeOf(job.nodeId === null ? null : parts.queue.node(job.nodeId))),
    retries: job.retries,
    attempts: job.attempts.map((past) => attemptView(past, fleet)),
    notBefore: stamp(job.notBeforeMs),
    stdoutBytes: lengths.stdoutBytes,
    stderrBytes: lengths.stderrBytes,
    outputRemoved: job.epoch === 0 ? null : await output.removal(job.id, job.epoch),
  };
}

function attemptView(past: PastAttempt, fleet: Fleet): AttemptView {
  const { nodeId, startedAtMs, endedAtMs, usage = nothingUsed(NOT_WRITTEN_DOWN), ...rest } = past;
  return {
    ...rest,
    usage,
    node: { id: nodeId, name: fleet.name(nodeId) },
    startedAt: stamp(startedAtMs),
    endedAt: stamp(endedAtMs),
  };
}

/** Of a row for several jobs the sentence is that of one: it says whose, for the others may have ended otherwise. */
function describeRow(job: JobRecord, parts: ViewParts, members: string | null): string {
  const sentence = describeJob(job, parts);
  return members === null || job.array === null ? sentence : `[${job.array.index}] ${sentence}`;
}

/** One sentence with evidence. */
export function describeJob(job: JobRecord, parts: ViewParts): string {
  const { fleet, dispatcher, queue, progress } = parts;
  if (isFinalState(job.state)) return describeFinal(job);
  const isFull = queue.failure()?.code === 'QUEUE_STORE_FULL';
  if (isFull && job.state === 'PENDING') return "waiting: the scheduler's disk is full, nothing is started";
  const again = describeRetry(job, fleet);
  if (job.state === 'PENDING') {
    const refused = job.reason === '' ? '' : `; attempt ${job.epoch}: ${job.reason}`;
    return `${dispatcher.waitingReason(job)}${refused}${again}`;
  }
  const nodeId = job.nodeId ?? '';
  const node = fleet.name(nodeId);
  const doing =
    job.state === 'RUNNING'
      ? `runs on ${node}`
      : `ordered to ${node}, ${progress.of(job) ?? 'which has not confirmed the start yet'}`;
  const stopping =
    job.cancelBy === null
      ? ''
      : `; is being stopped: cancelled by ${job.cancelBy}${job.reason === '' ? '' : ` (${job.reason})`}`;
  if (fleet.isReachable(nodeId)) return doing + stopping + again;
  const silent = fleet.silentSeconds(nodeId);
  const since = silent === null ? 'since this scheduler started' : `for ${describeSeconds(silent)}`;
  return `${doing}${stopping}; the node has been unreachable ${since}, ${withoutNode(job)}`;
}

/** What becomes of a job whose node is away, by its disconnect policy. */
function withoutNode(job: JobRecord): string {
  const { disconnect } = job.spec;
  const overMs = leaseOverAfterMs(job.spec, HEARTBEAT_MS);
  if (disconnect.policy === 'keep' || overMs === null)
    return job.state === 'RUNNING' ? 'the job goes on there' : 'the order is repeated when it comes back';
  const when = disconnect.afterMs === 0 ? 'at once' : `after ${describeSeconds(disconnect.afterMs / 1000)}`;
  return `by its disconnect policy the job is stopped there ${when} and counts as lost here after ${describeSeconds(overMs / 1000)}`;
}

function describeFinal(job: JobRecord): string {
  const cause = job.result?.cause ?? job.reason;
  if (job.retries === 0) return cause;
  const times = job.retries === 1 ? 'once' : `${job.retries} times`;
  const isOver =
    job.state !== 'COMPLETED' && job.state !== 'CANCELLED' && job.retries >= job.spec.retry.times;
  return `${cause}; it had been started again ${times}${isOver ? ', as often as it was asked' : ''}`;
}

/** What happened to the attempt before this one; empty for the first. */
function describeRetry({ attempts, retries, spec, state }: JobRecord, fleet: Fleet): string {
  const last = attempts.at(-1);
  if (last === undefined) return '';
  const node = fleet.name(last.nodeId);
  const avoids = state === 'PENDING' ? `; ${node} is avoided where another node fits` : '';
  return `; retry ${retries} of ${spec.retry.times} after attempt ${last.epoch} on ${node} ended as ${last.state} (${last.cause})${avoids}`;
}

/** ISO 8601, or null for a stamp that no calendar can show. */
export function stamp(ms: number | null): string | null {
  if (ms === null || !(Math.abs(ms) <= 8.64e15)) return null;
  return new Date(ms).toISOString();
}
