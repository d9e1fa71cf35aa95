// Identities of nodes, made once: a key pair costs more than a short history.
import { generateKeyPairSync, type KeyObject } from 'node:crypto';

export interface NodeKey {
  readonly nodeId: string;
  readonly name: string;
  readonly privateKey: KeyObject;
  /** DER (SPKI), base64. */
  readonly publicKey: string;
}

export function makeNodeKeys(count: number): readonly NodeKey[] {
  return Array.from({ length: count }, (_, at) => {
    const { privateKey, publicKey } = generateKeyPairSync('ed25519');
    return {
      nodeId: `node-${at + 1}`,
      name: `host-${at + 1}`,
      privateKey,
      publicKey: publicKey.export({ format: 'der', type: 'spki' }).toString('base64'),
    };
  });
}
