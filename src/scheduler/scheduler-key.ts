// The scheduler's own key: a file beside the job store, not in it, so that a store that is lost or restored from a copy
// loses no node and no job. With it the scheduler signs what a node is (its credential) and seals what it ordered, and
// knows both again when a node shows them.
//
// A seal is HMAC-SHA-256 over node, job, epoch and the order's content with its keys in order: an agent cannot make
// one, so what is adopted under it is what was ordered.
import {
  createHmac,
  createPublicKey,
  hkdfSync,
  type KeyObject,
  sign,
  timingSafeEqual,
  verify,
} from 'node:crypto';
import { type KeyOwner, publicKeyText, takeKey } from '../base/key-file.ts';
import { type Credential, credentialText, type StartOrder } from '../protocol/control.ts';
import { isSignedBy, keyIdOf, signText } from '../protocol/signed.ts';
import type { CredentialSigner } from './node-credentials.ts';
import type { JobRecord } from './queue/queue.ts';

const owner: KeyOwner = {
  code: 'SCHEDULER',
  what: 'the scheduler key',
  exposedRemedy: 'make a new one by deleting it',
  damagedRemedy: 'restore it, or delete it: nodes stay enrolled as long as the job store is there',
};

export interface SchedulerKey {
  credential(nodeId: string, publicKey: string, enrolledAtMs: number): Credential;
  /** Whether this scheduler signed that this node has this key. */
  isOurs(nodeId: string, credential: Credential): boolean;
  /** Signs and knows credentials of version 2. */
  readonly signer: CredentialSigner;
  seal(job: JobRecord): string;
  /** When the job was submitted, by a seal that fits; null for an order that this scheduler did not give so. */
  readSeal(nodeId: string, order: StartOrder): number | null;
}

/** Opens the key in the file, or makes one. Throws SCHEDULER_KEY_EXPOSED or SCHEDULER_KEY_DAMAGED. */
export function openSchedulerKey(path: string, schedulerId: string): SchedulerKey {
  return createSchedulerKey(takeKey(path, owner), schedulerId);
}

export function createSchedulerKey(key: KeyObject, schedulerId: string): SchedulerKey {
  const publicKey = createPublicKey(key);
  const keyId = keyIdOf(publicKeyText(key));
  const secret = key.export({ format: 'der', type: 'pkcs8' });
  const sealKey = Buffer.from(hkdfSync('sha256', secret, publicKeyText(key), 'flopd.v1 seal', 32));

  function mark(nodeId: string, submittedAtMs: number, order: Sealed): Buffer {
    const { jobId, epoch, spec, array, devices } = order;
    const text = inOrder({ nodeId, submittedAtMs, jobId, epoch, spec, array, devices });
    return createHmac('sha256', sealKey).update(text).digest();
  }

  return {
    credential(nodeId, nodeKey, enrolledAtMs) {
      const text = credentialText(schedulerId, nodeId, { publicKey: nodeKey, enrolledAtMs });
      const signature = sign(null, Buffer.from(text), key).toString('base64');
      return { publicKey: nodeKey, enrolledAtMs, signature };
    },
    isOurs(nodeId, credential) {
      const text = credentialText(schedulerId, nodeId, credential);
      return verify(null, Buffer.from(text), publicKey, Buffer.from(credential.signature, 'base64'));
    },
    signer: {
      sign: (purpose, body) => ({ keyId, body, signature: signText(key, purpose, body) }),
      isOurs: (purpose, { body, signature }) => isSignedBy(publicKey, purpose, body, signature),
    },
    seal(job) {
      const { id: jobId, epoch, spec, array, devices, submittedAtMs, nodeId } = job;
      const digest = mark(nodeId ?? '', submittedAtMs, { jobId, epoch, spec, array, devices });
      return `${submittedAtMs}.${digest.toString('base64url')}`;
    },
    readSeal(nodeId, order) {
      const match = /^(\d{1,16}(?:\.\d{1,6})?)\.([\w-]{43})$/.exec(order.seal ?? '');
      if (match === null) return null;
      const submittedAtMs = Number(match[1]);
      const given = Buffer.from(match[2] ?? '', 'base64url');
      return timingSafeEqual(given, mark(nodeId, submittedAtMs, order)) ? submittedAtMs : null;
    },
  };
}

type Sealed = Pick<StartOrder, 'jobId' | 'epoch'> & {
  readonly spec: unknown;
  readonly array: unknown;
  readonly devices: readonly string[];
};

/** JSON with the keys of every object in order, so that two copies of one value have one text. */
function inOrder(value: unknown): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null';
  if (Array.isArray(value)) return `[${value.map(inOrder).join(',')}]`;
  let text = '';
  for (const key of Object.keys(value).sort()) {
    const item = (value as Record<string, unknown>)[key];
    if (item !== undefined) text += `${text === '' ? '' : ','}${JSON.stringify(key)}:${inOrder(item)}`;
  }
  return `{${text}}`;
}
