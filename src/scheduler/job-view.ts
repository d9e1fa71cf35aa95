// A job as clients see it: the record, its sentence, and how much output there is.
import type { JobView } from '../protocol/api.ts';
import { leaseOverAfterMs } from '../protocol/lease.ts';
import { isFinalState } from '../protocol/result.ts';
import { describeSeconds, type Fleet } from './fleet.ts';
import { HEARTBEAT_MS } from './gateway.ts';
import type { OutputStore } from './output.ts';
import type { Placement } from './placement.ts';
import type { ProgressBoard } from './progress.ts';
import type { JobRecord, Queue } from './queue/queue.ts';

export interface ViewParts {
  readonly fleet: Fleet;
  readonly placement: Placement;
  readonly output: OutputStore;
  readonly queue: Pick<Queue, 'failure'>;
  readonly progress: ProgressBoard;
}

export async function jobView(job: JobRecord, parts: ViewParts): Promise<JobView> {
  const { fleet, output } = parts;
  const lengths =
    job.epoch === 0 ? { stdoutBytes: 0, stderrBytes: 0 } : await output.lengths(job.id, job.epoch);
  return {
    id: job.id,
    name: job.spec.name,
    state: job.state,
    reason: describeJob(job, parts),
    spec: job.spec,
    node: job.nodeId === null ? null : { id: job.nodeId, name: fleet.name(job.nodeId) },
    epoch: job.epoch,
    devices: job.devices,
    cancelRequested: job.cancelBy !== null,
    submittedAt: stamp(job.submittedAtMs) ?? new Date(0).toISOString(),
    startedAt: stamp(job.startedAtMs),
    endedAt: stamp(job.endedAtMs),
    result: job.result,
    stdoutBytes: lengths.stdoutBytes,
    stderrBytes: lengths.stderrBytes,
    outputRemoved: job.epoch === 0 ? null : await output.removal(job.id, job.epoch),
  };
}

/** One sentence with evidence. */
function describeJob(job: JobRecord, { fleet, placement, queue, progress }: ViewParts): string {
  if (isFinalState(job.state)) return job.result?.cause ?? job.reason;
  const isFull = queue.failure()?.code === 'QUEUE_STORE_FULL';
  if (isFull && job.state === 'PENDING') return "waiting: the scheduler's disk is full, nothing is started";
  if (job.state === 'PENDING') {
    const waiting = placement.reason(job.id) ?? 'waiting: its turn comes next';
    return job.reason === '' ? waiting : `${waiting}; attempt ${job.epoch}: ${job.reason}`;
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
  if (fleet.isReachable(nodeId)) return doing + stopping;
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

/** ISO 8601, or null for a stamp that no calendar can show. */
function stamp(ms: number | null): string | null {
  if (ms === null || !(Math.abs(ms) <= 8.64e15)) return null;
  return new Date(ms).toISOString();
}
