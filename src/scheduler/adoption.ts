// A job that the store has lost, made again from what its node tells: pure. What carries this scheduler's seal is as it
// was ordered. What does not (the key was lost too, or another version wrote the order differently) is taken in as the
// node's word about itself: it is shown and settled, but no other node will ever be asked to carry it out.
import type { JobReport, StartOrder } from '../protocol/control.ts';
import type { JobRecord } from './queue/queue.ts';

/** When the job was submitted, by the seal of an order to this node; null where it does not fit. */
export type ReadSeal = (nodeId: string, order: StartOrder) => number | null;

export interface Adopted {
  /** Null where the node does not know the order either. */
  readonly job: JobRecord | null;
  readonly isOurs: boolean;
}

export function adoptedJob(nodeId: string, report: JobReport, readSeal: ReadSeal): Adopted {
  const { jobId, epoch, order, startedAtMs, result } = report;
  if (order === null || order.jobId !== jobId || order.epoch !== epoch) return { job: null, isOurs: false };
  const fits =
    result === null || (result.jobId === jobId && result.epoch === epoch && result.nodeId === nodeId);
  if (!fits) return { job: null, isOurs: false };
  const sealedAtMs = readSeal(nodeId, order);
  const isOurs = sealedAtMs !== null;
  const spec = isOurs ? order.spec : { ...order.spec, retry: { ...order.spec.retry, times: 0 } };
  const job: JobRecord = {
    id: jobId,
    spec,
    array: order.array,
    // Never STARTING: a refusal of the order would send it to another node.
    state: result?.state ?? 'RUNNING',
    submittedAtMs: sealedAtMs ?? startedAtMs ?? result?.endedAtMs ?? 0,
    owner: null,
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
