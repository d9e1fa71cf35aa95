// A node that will not come back (burnt, sold, installed anew under another id) is removed by an operator: its jobs are
// lost, and what it was stays written down, so that its credential alone does not bring it back.
import type { Clock } from '../base/clock.ts';
import { Fault } from '../base/fault.ts';
import type { Log } from '../base/log.ts';
import { type AuditSink, noAudit } from '../protocol/audit.ts';
import type { Fleet } from './fleet.ts';
import { lost, type OwnEnd } from './own-result.ts';
import type { JobRecord, Queue } from './queue/queue.ts';

export interface NodeRemovals {
  /**
   * Resolves when node and jobs are on disk as gone. Throws Fault FLEET_NODE_UNKNOWN, or FLEET_NODE_CONNECTED for one
   * that would be back at once.
   */
  remove(nodeId: string, by: string): Promise<void>;
}

export interface NodeRemovalParts {
  readonly queue: Queue;
  readonly fleet: Fleet;
  readonly clock: Clock;
  readonly log: Log;
  readonly audit?: AuditSink;
  end(job: JobRecord, end: OwnEnd): Promise<void>;
}

export function createNodeRemovals(parts: NodeRemovalParts): NodeRemovals {
  const { queue, fleet, clock, log, end, audit = noAudit } = parts;
  return {
    async remove(nodeId, by) {
      const record = queue.node(nodeId);
      if (record === null) throw new Fault('FLEET_NODE_UNKNOWN', `there is no node ${nodeId}`);
      const name = fleet.name(nodeId);
      if (fleet.isConnected(nodeId)) {
        throw new Fault('FLEET_NODE_CONNECTED', `${name} is connected`, {
          remedy: 'stop its agent first; "flopd drain" keeps new jobs away from it',
        });
      }
      const failure = queue.failure();
      if (failure !== null) throw failure;
      const jobs = [...queue.active(nodeId)];
      // The node first: from here on no session of it can begin.
      await queue.putNode({ ...record, removedAtMs: clock.wallMs() });
      const why = {
        ...lost(`lost: its node ${name} was removed by ${by}`),
        endKind: 'disconnected',
      } as const;
      await Promise.all(jobs.map((job) => end(job, why)));
      fleet.forget(nodeId);
      log.info({ nodeId, name, by, jobs: jobs.length }, 'node removed');
      audit('node.removed', { nodeId, name, by, jobs: jobs.length });
    },
  };
}
