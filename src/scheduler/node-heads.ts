// What nodes tell of their own audit logs when they connect: written into the scheduler's log, so that a node cannot
// rewrite its own past unseen, and compared with what it told last.
import * as z from 'zod';
import type { Log } from '../base/log.ts';
import type { AuditSink } from '../protocol/audit.ts';
import type { Hello } from '../protocol/control.ts';
import type { Queue } from './queue/queue.ts';

const toldSchema = z.strictObject({ sequence: z.number().int(), hash: z.string() });

export interface NodeHeads {
  /** A node that has proven who it is said hello. */
  told(hello: Pick<Hello, 'nodeId' | 'generation' | 'audit'>): void;
}

export function createNodeHeads(
  queue: Pick<Queue, 'documents' | 'putDocument'>,
  audit: AuditSink,
  log: Log,
): NodeHeads {
  return {
    told({ nodeId, generation, audit: head }) {
      if (head === null) return;
      const parsed = toldSchema.safeParse(queue.documents('nodeHead').get(nodeId));
      const last = parsed.success ? parsed.data : null;
      const { sequence, hash } = head;
      if (last !== null && last.sequence === sequence && last.hash === hash) return;
      if (last !== null && last.sequence >= sequence) {
        log.error(
          { nodeId, sequence, toldBefore: last.sequence },
          'the audit log of a node does not hold any more what it told before',
        );
        audit('node.rewound', {
          nodeId,
          generation,
          sequence,
          hash,
          toldSequence: last.sequence,
          toldHash: last.hash,
        });
      }
      audit('node.head', { nodeId, generation, sequence, hash });
      // Where the disk takes nothing, the log has it all the same.
      queue.putDocument('nodeHead', nodeId, { sequence, hash }).catch(() => {});
    },
  };
}

/** The same admission of nodes; what they tell is written down with the rest of their hello. */
export function withHeads<T extends { remember(hello: Hello): Promise<void> }>(
  admission: T,
  heads: NodeHeads,
): T {
  return {
    ...admission,
    remember(hello: Hello) {
      heads.told(hello);
      return admission.remember(hello);
    },
  };
}
