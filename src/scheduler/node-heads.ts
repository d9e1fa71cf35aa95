// What nodes tell of their own audit logs when they connect: written into the scheduler's log, so that a node cannot
// rewrite its own past unseen, and compared with what it told last of the same chain. A node whose jobs are with a runner
// has two chains, the runner's and the agent's; the key that signs a chain names it.
import * as z from 'zod';
import type { Log } from '../base/log.ts';
import { type AuditHead, type AuditSink, auditHeadSchema } from '../protocol/audit.ts';
import type { Hello } from '../protocol/control.ts';
import type { Queue } from './queue/queue.ts';

/** Chains of one node that are remembered, the last told last; the audit log has all of them. */
const CHAINS_MAX = 8;

const toldSchema = z.union([
  z.strictObject({ chains: z.array(auditHeadSchema).max(CHAINS_MAX) }),
  // Before chains were told apart.
  auditHeadSchema.transform((head) => ({ chains: [head] })),
]);

export interface NodeHeads {
  /** A node that has proven who it is said hello. */
  told(hello: Pick<Hello, 'nodeId' | 'generation' | 'audit' | 'agentAudit'>): void;
}

export function createNodeHeads(
  queue: Pick<Queue, 'documents' | 'putDocument'>,
  audit: AuditSink,
  log: Log,
): NodeHeads {
  /** What is known of the chains of a node after this head was told; null where it is nothing new. */
  function take(
    { nodeId, generation }: Pick<Hello, 'nodeId' | 'generation'>,
    chains: readonly AuditHead[],
    head: AuditHead,
    isAgents: boolean,
  ): AuditHead[] | null {
    const known = comparable(chains, head);
    const { sequence, hash, keyId } = head;
    const isSame = (one: AuditHead): boolean => one.sequence === sequence && one.hash === hash;
    if (known.some((one) => isSame(one) && (keyId === null || one.keyId === keyId))) return null;
    if (known.length === 0 && chains.length > 0 && !isAgents)
      log.warn(
        { nodeId, keyId, keyIdBefore: chains.at(-1)?.keyId ?? null },
        'a node keeps another audit log than before, as one does that was split; keep the former too',
      );
    const later = known.find((one) => one.sequence >= sequence && !isSame(one));
    if (later !== undefined) {
      log.error(
        { nodeId, keyId, sequence, toldBefore: later.sequence },
        'the audit log of a node does not hold any more what it told before',
      );
      audit('node.rewound', {
        nodeId,
        generation,
        sequence,
        hash,
        keyId,
        toldSequence: later.sequence,
        toldHash: later.hash,
        toldKeyId: later.keyId,
      });
    }
    audit('node.head', { nodeId, generation, sequence, hash, keyId });
    // One that names its chain takes the place of what was told without a name.
    const others = chains.filter((one) => one.keyId !== keyId && (keyId === null || one.keyId !== null));
    return [...others, head].slice(-CHAINS_MAX);
  }

  return {
    told(hello) {
      const parsed = toldSchema.safeParse(queue.documents('nodeHead').get(hello.nodeId));
      const before = parsed.success ? parsed.data.chains : [];
      let chains = before;
      // The agent's first: what names no chain is taken for that of the jobs.
      if (hello.agentAudit) chains = take(hello, chains, hello.agentAudit, true) ?? chains;
      if (hello.audit !== null) chains = take(hello, chains, hello.audit, false) ?? chains;
      // Where the disk takes nothing, the log has it all the same.
      if (chains !== before) queue.putDocument('nodeHead', hello.nodeId, { chains }).catch(() => {});
    },
  };
}

/**
 * What was told of the same chain, or may have been: what names no chain is compared rather than let pass. It is taken
 * for the chain that was told last.
 */
function comparable(chains: readonly AuditHead[], { keyId }: AuditHead): readonly AuditHead[] {
  if (keyId !== null) return chains.filter((one) => one.keyId === keyId || one.keyId === null);
  const last = chains.at(-1);
  return last === undefined ? [] : [...chains.filter((one) => one.keyId === null && one !== last), last];
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
