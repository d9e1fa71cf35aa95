// Keys to the store of files, one for each session of a node, in memory only: they end with the session.
import { createHash, randomBytes } from 'node:crypto';

const TICKET_BYTES = 32;

export interface FileTickets {
  issue(nodeId: string): { readonly text: string; revoke(): void };
  /** The node that holds the ticket, or null. */
  nodeOf(text: string): string | null;
}

/** Kept as hashes, so that looking one up takes the same time for every wrong guess. */
export function createFileTickets(): FileTickets {
  const nodes = new Map<string, string>();
  const key = (text: string): string => createHash('sha256').update(text).digest('base64');
  return {
    issue(nodeId) {
      const text = randomBytes(TICKET_BYTES).toString('base64url');
      const own = key(text);
      nodes.set(own, nodeId);
      return { text, revoke: () => void nodes.delete(own) };
    },
    nodeOf: (text) => nodes.get(key(text)) ?? null,
  };
}
