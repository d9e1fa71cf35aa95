// What the scheduler signs, with the keys of its ring (key-ring.ts): what a node is (its credential), and orders. It knows
// both again when a node shows them.
//
// Orders of version 1 carry a seal in place of a signature: HMAC-SHA-256 over node, job, epoch and the order's content with
// its keys in order. An agent cannot make one, so what is adopted under it is what was ordered.
import { createHmac, hkdfSync, type KeyObject, sign, timingSafeEqual, verify } from 'node:crypto';
import { publicKeyText } from '../base/key-file.ts';
import { type Credential, credentialText, type StartOrder } from '../protocol/control.ts';
import { createKeyRing, type KeyRing } from './key-ring.ts';
import type { CredentialSigner } from './node-credentials.ts';
import type { JobRecord } from './queue/queue.ts';

export interface SchedulerKey {
  /** For `Signed` texts; rotation. */
  readonly ring: KeyRing;
  credential(nodeId: string, publicKey: string, enrolledAtMs: number): Credential;
  /** Whether this scheduler signed that this node has this key. */
  isOurs(nodeId: string, credential: Credential): boolean;
  /** Signs and knows credentials of version 2. */
  readonly signer: CredentialSigner;
  seal(job: JobRecord): string;
  /** When the job was submitted, by a seal that fits; null for an order that this scheduler did not give so. */
  readSeal(nodeId: string, order: StartOrder): number | null;
}

/** With one key that is kept nowhere. */
export function createSchedulerKey(privateKey: KeyObject, schedulerId: string): SchedulerKey {
  const nowhere = {
    makeKey(): never {
      throw new Error('this ring has one key');
    },
    write() {},
  };
  const keys = [{ privateKey, notBeforeMs: 0, signsFromMs: 0, notAfterMs: null }];
  const clock = { wallMs: () => 0 };
  return schedulerKeyOf(createKeyRing(schedulerId, { keys, statements: [] }, nowhere, clock), schedulerId);
}

export function schedulerKeyOf(ring: KeyRing, schedulerId: string): SchedulerKey {
  const secret = ring.first.export({ format: 'der', type: 'pkcs8' });
  const sealKey = Buffer.from(hkdfSync('sha256', secret, publicKeyText(ring.first), 'flopd.v1 seal', 32));

  function mark(nodeId: string, submittedAtMs: number, order: Sealed): Buffer {
    const { jobId, epoch, spec, array, devices } = order;
    const text = inOrder({ nodeId, submittedAtMs, jobId, epoch, spec, array, devices });
    return createHmac('sha256', sealKey).update(text).digest();
  }

  return {
    ring,
    credential(nodeId, nodeKey, enrolledAtMs) {
      const text = credentialText(schedulerId, nodeId, { publicKey: nodeKey, enrolledAtMs });
      const signature = sign(null, Buffer.from(text), ring.signing()).toString('base64');
      return { publicKey: nodeKey, enrolledAtMs, signature };
    },
    isOurs(nodeId, credential) {
      const text = credentialText(schedulerId, nodeId, credential);
      const signature = Buffer.from(credential.signature, 'base64');
      return ring.publicKeys().some((key) => verify(null, Buffer.from(text), key, signature));
    },
    signer: ring,
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
