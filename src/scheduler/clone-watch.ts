// Sees to it that of all agents with the key of one node only one is taken (clones.ts says what may come), and marks the
// node where there was more than one.
import type { Clock } from '../base/clock.ts';
import { describeError, Fault } from '../base/fault.ts';
import type { Log } from '../base/log.ts';
import type { AuditSink } from '../protocol/audit.ts';
import { closeCode, type Hello } from '../protocol/control.ts';
import { CLONE_REMEDY, decideRun, describeClone, type SeenRun, seenRun } from './clones.ts';
import type { AgentSession, Fleet } from './fleet.ts';
import type { NodeRecord, Queue } from './queue/queue.ts';
import { Refusal } from './session-refusal.ts';

export interface CloneWatch {
  /**
   * Resolves when this run is the one that counts from now on. Rejects with Refusal LINK_NODE_CLONED, and marks the node,
   * where another one does. Waits for a moment where an earlier run may still be there.
   */
  requireOnly(node: NodeRecord, hello: Hello): Promise<void>;
  /** The run of this hello is on disk. */
  remembered(hello: Hello): void;
  /** An admin says that only one agent is left. Throws Fault FLEET_NODE_UNKNOWN. */
  trust(nodeId: string, by: string): Promise<void>;
}

export interface CloneWatchParts {
  readonly queue: Queue;
  readonly fleet: Fleet;
  readonly clock: Clock;
  readonly log: Log;
  readonly audit: AuditSink;
  /** Looks for work: the node may take some again. */
  readonly place: () => void;
}

export function createCloneWatch({ queue, fleet, clock, log, audit, place }: CloneWatchParts): CloneWatch {
  /** Runs that were admitted and are not in the record of their node yet. */
  const admitted = new Map<string, SeenRun>();

  function mark(node: NodeRecord, reason: string): void {
    const record = queue.node(node.id) ?? node;
    if (record.cloned !== undefined) return;
    log.error({ nodeId: node.id, name: node.name }, `${reason}; ${CLONE_REMEDY}`);
    audit('node.cloned', { nodeId: node.id, reason });
    queue.putNode({ ...record, cloned: { sinceMs: clock.wallMs(), reason } }).catch((error: unknown) => {
      log.error({ nodeId: node.id }, `the mark of a node was not stored: ${describeError(error)}`);
    });
    fleet.refresh(node.id);
  }

  function refuse(node: NodeRecord, reason: string): never {
    mark(node, reason);
    throw new Refusal(closeCode.cloned, 'LINK_NODE_CLONED', `${reason}; ${CLONE_REMEDY}`);
  }

  return {
    async requireOnly(node, hello) {
      /** Did not answer. */
      let silent: AgentSession | null = null;
      for (;;) {
        const record = queue.node(node.id) ?? node;
        const seen = admitted.get(node.id) ?? seenRun(record);
        const run = decideRun(seen, hello);
        if (run !== 'same' && record.cloned !== undefined) refuse(node, record.cloned.reason);
        if (run === 'behind' || run === 'twin') refuse(node, describeClone(run, seen, hello.generation));
        const rival = run === 'same' ? null : fleet.connection(node.id);
        if (rival === null || rival === silent) {
          const { generation, instance, bootId } = hello;
          admitted.set(node.id, { generation, instance, bootId });
          return;
        }
        if (await rival.answers()) refuse(node, describeClone('later', seen, hello.generation));
        silent = rival;
      }
    },
    remembered({ nodeId, generation, instance }) {
      const run = admitted.get(nodeId);
      if (run?.generation === generation && run.instance === instance) admitted.delete(nodeId);
    },
    async trust(nodeId, by) {
      const record = queue.node(nodeId);
      if (record === null) throw new Fault('FLEET_NODE_UNKNOWN', `there is no node ${nodeId}`);
      const { cloned, ...rest } = record;
      const isConnected = fleet.isConnected(nodeId);
      if (!isConnected) admitted.delete(nodeId);
      // Without a session nobody knows which one is left: whoever comes first is.
      const stored = queue.putNode(
        isConnected ? rest : { ...rest, generation: 0, instance: null, bootId: null },
      );
      fleet.refresh(nodeId);
      await stored;
      place();
      log.warn({ nodeId, by, was: cloned?.reason ?? null }, 'a node is trusted again');
    },
  };
}
