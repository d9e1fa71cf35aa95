// What to do with a job when its node comes back: pure decisions over what the scheduler has on disk and what the
// agent says that it holds. INVARIANT: nothing here ever stops a job that the scheduler does not know. What it has given
// up for good (a later attempt was ordered, the lease was over, the node was removed) is stopped where it still runs; whatever else runs
// goes on, and its result is taken when it fits.
import type { HeldJob } from '../protocol/control.ts';
import { isFinalState } from '../protocol/result.ts';
import type { JobRecord } from './queue/queue.ts';

export type Reconciliation =
  /** Both sides agree, or the agent will tell the rest by itself. */
  | { readonly kind: 'keep' }
  /** The order may never have arrived: send it again, with the same epoch. */
  | { readonly kind: 'resend' }
  /**
   * It was sent to another run of the agent, which may be there still and have it (a copy came while that was stopped):
   * this run must never start it, and says whether it ever held it; then the job is ordered anew.
   */
  | { readonly kind: 'supersede' }
  /** Cancelled before the node took the order: it has never run. */
  | { readonly kind: 'cancelled' }
  /** The node holds it and somebody wants it stopped. */
  | { readonly kind: 'stop' }
  | { readonly kind: 'lost'; readonly cause: string };

export interface NodeReturn {
  readonly nodeName: string;
  /** The node has another boot id than when it was last heard. */
  readonly rebooted: boolean;
  /** Its run (clones.ts). */
  readonly run: string;
}

/** Decides for a STARTING or RUNNING job of this node. `held` is the agent's word on the same job and epoch. */
export function decideReturn(job: JobRecord, held: HeldJob | null, node: NodeReturn): Reconciliation {
  if (held !== null) return { kind: job.cancelBy === null || held.phase === 'ended' ? 'keep' : 'stop' };
  if (node.rebooted) {
    return { kind: 'lost', cause: `${node.nodeName} was rebooted and its agent no longer knows the job` };
  }
  if (job.state === 'RUNNING') {
    return { kind: 'lost', cause: `the agent of ${node.nodeName} came back and no longer knows the job` };
  }
  if (job.cancelBy !== null) return { kind: 'cancelled' };
  return { kind: job.orderedTo === node.run ? 'resend' : 'supersede' };
}

/** Whether an attempt that its node still holds is to be stopped there, because it counts for nothing any more. */
export function isGivenUp(job: JobRecord, held: HeldJob): boolean {
  if (held.phase === 'ended') return false;
  if (held.epoch < job.epoch) return true;
  // Waiting for its next attempt, after this one was given up.
  if (job.state === 'PENDING') return held.epoch === job.epoch;
  return held.epoch === job.epoch && job.result?.endKind === 'disconnected' && job.state === 'LOST';
}

/**
 * Decides on a job that an agent holds and that is not active on its node with this epoch. The store may be older
 * than what the agent did (restored from a copy): then the job is adopted at the agent's epoch, so that it is not
 * started a second time.
 */
export function decideHeld(job: JobRecord | null, held: HeldJob): 'adopt' | 'unknown' | 'finished' | 'stale' {
  if (job === null) return 'unknown';
  if (!isFinalState(job.state)) return held.epoch > job.epoch ? 'adopt' : 'stale';
  return held.epoch >= job.epoch ? 'finished' : 'stale';
}
