// Whose jobs nodes take: known only by what they refuse, since each has its own list of submitters (job/submitters.ts). A node
// that refused somebody's job is given none of theirs for a while, longer with each refusal in a row, then one again: their
// key may have been added.
import type { Clock, Timer } from '../base/clock.ts';
import type { PlacementNode } from './demand.ts';
import type { JobRecord } from './queue/queue.ts';

const BARRED_MS = 5000;
export const MAX_BARRED_MS = 10 * 60_000;
/** Submitters that are remembered of one node. */
const SAID_MAX = 1024;

/** The part of a demand that says whose job it is. Only `key` tells one demand from another. */
export interface SubmitterDemand {
  /** Public key of its submitter; '' of a job that nobody signed. */
  readonly key: string;
  /** What the node said when it took no job of theirs, or null. */
  refuse(node: Pick<PlacementNode, 'id'>): string | null;
}

export interface SubmitterRules {
  demand(job: Pick<JobRecord, 'submission'>): SubmitterDemand;
  /** A node has refused an order for who submitted the job. */
  refused(nodeId: string, job: Pick<JobRecord, 'submission'>, message: string): void;
  /** The node has started a job of theirs. */
  taken(nodeId: string, job: Pick<JobRecord, 'submission'>): void;
  /** The node has come back, maybe with another list. */
  forget(nodeId: string): void;
}

interface Said {
  readonly message: string;
  /** Refusals in a row. */
  readonly row: number;
  /** Until it fires, the refusal counts. */
  timer: Timer | null;
}

/** `over` is called when a refusal has ceased to count. */
export function createSubmitterRules(clock: Pick<Clock, 'after'>, over: () => void): SubmitterRules {
  /** By node, then by key. */
  const said = new Map<string, Map<string, Said>>();
  const keyOf = ({ submission }: Pick<JobRecord, 'submission'>): string => submission?.publicKey ?? '';

  /** True when it counted until now. */
  function drop(nodeId: string, key: string): boolean {
    const ofNode = said.get(nodeId);
    const timer = ofNode?.get(key)?.timer ?? null;
    timer?.cancel();
    ofNode?.delete(key);
    if (ofNode?.size === 0) said.delete(nodeId);
    return timer !== null;
  }

  /** Nobody else would let jobs wait for the node again that wait for it no more. */
  function lift(nodeId: string, keys: readonly string[]): void {
    if (keys.filter((key) => drop(nodeId, key)).length > 0) over();
  }

  return {
    demand(job) {
      const key = keyOf(job);
      return {
        key,
        refuse({ id }) {
          const one = said.get(id)?.get(key);
          return one === undefined || one.timer === null ? null : one.message;
        },
      };
    },
    refused(nodeId, job, message) {
      const key = keyOf(job);
      const before = said.get(nodeId)?.get(key);
      // Of orders that went together.
      if (before !== undefined && before.timer !== null) return;
      const row = (before?.row ?? 0) + 1;
      drop(nodeId, key);
      const ofNode = said.get(nodeId) ?? new Map<string, Said>();
      const [oldest] = ofNode.keys();
      if (ofNode.size >= SAID_MAX && oldest !== undefined) lift(nodeId, [oldest]);
      const timer = clock.after(Math.min(MAX_BARRED_MS, BARRED_MS * 2 ** (row - 1)), () => {
        one.timer = null;
        over();
      });
      const one: Said = { message, row, timer };
      said.set(nodeId, ofNode.set(key, one));
    },
    taken: (nodeId, job) => lift(nodeId, [keyOf(job)]),
    forget: (nodeId) => lift(nodeId, [...(said.get(nodeId)?.keys() ?? [])]),
  };
}
