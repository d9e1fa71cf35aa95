// A node that will not come back (burnt, sold, installed anew under another id) is removed by an operator: its jobs are
// lost, and what it was stays written down, so that its credential alone does not bring it back. Where its key may be in
// other hands an admin revokes it, connected or not: the key is never good again. Both are written down beside the
// scheduler's key as well (revocations.ts), so that they outlive the job store.
import type { Clock } from '../base/clock.ts';
import { Fault } from '../base/fault.ts';
import type { Log } from '../base/log.ts';
import type { AuditSink } from '../protocol/audit.ts';
import { closeCode } from '../protocol/control.ts';
import type { Fleet } from './fleet.ts';
import { lost, type OwnEnd } from './own-result.ts';
import type { JobRecord, NodeRecord, Queue } from './queue/queue.ts';
import type { Revocations } from './revocations.ts';

export interface NodeRemovals {
  /**
   * Resolves when node and jobs are on disk as gone. Throws Fault FLEET_NODE_UNKNOWN, or FLEET_NODE_CONNECTED for one
   * that would be back at once.
   */
  remove(nodeId: string, by: string): Promise<void>;
  /** The same, also of a connected node, and for ever. Throws Fault FLEET_NODE_UNKNOWN or REVOCATIONS_UNWRITTEN. */
  revoke(nodeId: string, by: string): Promise<void>;
}

export interface NodeRemovalParts {
  readonly queue: Queue;
  readonly fleet: Fleet;
  readonly clock: Clock;
  readonly log: Log;
  readonly revocations: Revocations;
  readonly audit: AuditSink;
  end(job: JobRecord, end: OwnEnd): Promise<void>;
}

export function createNodeRemovals(parts: NodeRemovalParts): NodeRemovals {
  const { queue, fleet, clock, log, revocations, audit, end } = parts;

  function find(nodeId: string): NodeRecord {
    const record = queue.node(nodeId);
    if (record === null) throw new Fault('FLEET_NODE_UNKNOWN', `there is no node ${nodeId}`);
    const failure = queue.failure();
    if (failure !== null) throw failure;
    return record;
  }

  async function finish(record: NodeRecord, what: 'removed' | 'revoked', by: string): Promise<void> {
    const { id: nodeId } = record;
    const name = fleet.name(nodeId);
    const jobs = [...queue.active(nodeId)];
    // The node first: from here on no session of it can begin.
    const stored = queue.putNode({ ...record, removedAtMs: clock.wallMs() });
    fleet.connection(nodeId)?.close(closeCode.removed, `the node was ${what}`);
    await stored;
    const why = {
      ...lost(`lost: its node ${name} was ${what} by ${by}`),
      endKind: 'disconnected',
    } as const;
    await Promise.all(jobs.map((job) => end(job, why)));
    fleet.forget(nodeId);
    audit(`node.${what}`, { nodeId, name, by, jobs: jobs.length });
    log.info({ nodeId, name, by, jobs: jobs.length }, `node ${what}`);
  }

  return {
    async remove(nodeId, by) {
      const record = find(nodeId);
      if (fleet.isConnected(nodeId)) {
        throw new Fault('FLEET_NODE_CONNECTED', `${fleet.name(nodeId)} is connected`, {
          remedy: 'stop its agent first; "flopd drain" keeps new jobs away from it',
        });
      }
      revocations.remove(nodeId, record.publicKey, by);
      await finish(record, 'removed', by);
    },
    async revoke(nodeId, by) {
      const record = find(nodeId);
      revocations.revoke(nodeId, record.publicKey, by);
      await finish(record, 'revoked', by);
    },
  };
}
