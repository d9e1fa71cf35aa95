// Identities of nodes and of the scheduler, made once: a key pair costs more than a short history.
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import type { Credential } from '../../src/protocol/control.ts';
import { createSchedulerKey, type SchedulerKey } from '../../src/scheduler/scheduler-key.ts';

export const SCHEDULER_ID = 'scheduler-1';

export interface NodeKey {
  readonly nodeId: string;
  readonly name: string;
  readonly privateKey: KeyObject;
  /** DER (SPKI), base64. */
  readonly publicKey: string;
  readonly enrolledAtMs: number;
  readonly credential: Credential;
}

export interface Keys {
  readonly scheduler: SchedulerKey;
  readonly nodes: readonly NodeKey[];
}

export function makeKeys(nodes = 3): Keys {
  const scheduler = createSchedulerKey(generateKeyPairSync('ed25519').privateKey, SCHEDULER_ID);
  const enrolledAtMs = 1.7e12;
  return {
    scheduler,
    nodes: Array.from({ length: nodes }, (_, at) => {
      const { privateKey, publicKey: pair } = generateKeyPairSync('ed25519');
      const publicKey = pair.export({ format: 'der', type: 'spki' }).toString('base64');
      const nodeId = `node-${at + 1}`;
      const credential = scheduler.credential(nodeId, publicKey, enrolledAtMs);
      return { nodeId, name: `host-${at + 1}`, privateKey, publicKey, enrolledAtMs, credential };
    }),
  };
}
