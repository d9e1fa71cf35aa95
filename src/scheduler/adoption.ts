// A job that the store has lost, made again from what its node tells: pure. What carries this scheduler's signature (or
// seal, in version 1) is as it was ordered. What does not (the key was lost too, or another version wrote the order differently) is taken in as the
// node's word about itself: it is shown and settled, but no other node will ever be asked to carry it out.
import type { JobReport, StartOrder } from '../protocol/control.ts';
import type { JobRecord, JobSubmission } from './queue/queue.ts';

/** An order as its node tells it. */
export interface KnownOrder {
  readonly order: StartOrder;
  /** When the job was submitted; null for an order that this scheduler did not give so. */
  readonly submittedAtMs: number | null;
  /** Who submitted it, where a signed order says so. */
  readonly owner: string | null;
  readonly submission: JobSubmission | null;
}

/** What was ordered to this node, by its report; null where nobody can tell. */
export type ReadOrder = (nodeId: string, report: JobReport) => KnownOrder | null;

export interface Adopted {
  /** Null where the node does not know the order either. */
  readonly job: JobRecord | null;
  readonly isOurs: boolean;
}

export function adoptedJob(nodeId: string, report: JobReport, readOrder: ReadOrder): Adopted {
  const { jobId, epoch, startedAtMs, result } = report;
  const known = readOrder(nodeId, report);
  if (known === null || known.order.jobId !== jobId || known.order.epoch !== epoch)
    return { job: null, isOurs: false };
  const { order, submittedAtMs, owner, submission } = known;
  const fits =
    result === null || (result.jobId === jobId && result.epoch === epoch && result.nodeId === nodeId);
  if (!fits) return { job: null, isOurs: false };
  const isOurs = submittedAtMs !== null;
  const spec = isOurs ? order.spec : { ...order.spec, retry: { ...order.spec.retry, times: 0 } };
  const job: JobRecord = {
    id: jobId,
    spec,
    submission,
    array: order.array,
    // Never STARTING: a refusal of the order would send it to another node.
    state: result?.state ?? 'RUNNING',
    submittedAtMs: submittedAtMs ?? startedAtMs ?? result?.endedAtMs ?? 0,
    owner,
    epoch,
    nodeId,
    devices: order.devices,
    startedAtMs: result?.startedAtMs ?? startedAtMs,
    endedAtMs: result?.endedAtMs ?? null,
    retries: 0,
    attempts: [],
    notBeforeMs: null,
    cancelBy: null,
    result,
    reason: '',
  };
  return { job, isOurs };
}
