// The far side of signed orders: keys of a scheduler in memory, what they sign, and ways to sign it wrongly.
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { publicKeyText } from '../../src/base/key-file.ts';
import type { KeysBody } from '../../src/protocol/keys.ts';
import { ORDER_LIFE_MS, type Submission, submissionText } from '../../src/protocol/order.ts';
import {
  type ExecFields,
  type StartFields,
  type StopFields,
  sealExec,
  sealStart,
  sealStop,
} from '../../src/protocol/order-seal.ts';
import {
  digestOf,
  keyIdOf,
  type Signed,
  type SignedPurpose,
  sealText,
  signText,
} from '../../src/protocol/signed.ts';

export interface FakeKey {
  readonly privateKey: KeyObject;
  readonly publicKey: string;
  readonly keyId: string;
  sign(purpose: SignedPurpose, body: string): Signed;
}

export function createFakeKey(): FakeKey {
  const { privateKey } = generateKeyPairSync('ed25519');
  const publicKey = publicKeyText(privateKey);
  const keyId = keyIdOf(publicKey);
  return {
    privateKey,
    publicKey,
    keyId,
    sign: (purpose, body) => sealText(privateKey, keyId, purpose, body),
  };
}

type StatedKey = { readonly key: FakeKey } & Partial<KeysBody['keys'][number]>;

/** A statement of these keys, signed by `by`. */
export function stateKeys(
  schedulerId: string,
  serial: number,
  keys: readonly StatedKey[],
  by: FakeKey,
): Signed {
  const body: KeysBody = {
    version: 1,
    schedulerId,
    serial,
    keys: keys.map(({ key, notBeforeMs = 0, notAfterMs = null }) => ({
      publicKey: key.publicKey,
      notBeforeMs,
      notAfterMs,
    })),
  };
  return by.sign('flopd.v2 keys', JSON.stringify(body));
}

/** The signature of somebody who submits. */
export function signSubmission(
  key: FakeKey,
  schedulerId: string,
  spec: string,
  signedAtMs: number,
): Submission {
  const text = submissionText(schedulerId, signedAtMs, digestOf(spec) ?? '');
  return { publicKey: key.publicKey, signedAtMs, signature: signText(key.privateKey, 'flopd.v2 job', text) };
}

export interface FakeSigner {
  readonly schedulerId: string;
  readonly key: FakeKey;
  readonly statements: readonly Signed[];
  start(
    jobId: string,
    spec: object | string,
    change?: Partial<StartFields>,
    submission?: Submission | null,
    by?: FakeKey,
  ): ReturnType<typeof sealStart>;
  stop(jobId: string, change?: Partial<StopFields>): ReturnType<typeof sealStop>;
  exec(
    execId: string,
    jobId: string,
    command: readonly string[],
    change?: Partial<ExecFields>,
  ): ReturnType<typeof sealExec>;
}

/** `nowMs`: wall clock at each signing. */
export function createFakeSigner(
  schedulerId: string,
  nodeId: () => string,
  nowMs: () => number = Date.now,
  key: FakeKey = createFakeKey(),
): FakeSigner {
  let orders = 0;
  const fields = (jobId: string) => {
    orders += 1;
    const issuedAtMs = nowMs();
    const expiresAtMs = issuedAtMs + ORDER_LIFE_MS;
    return {
      schedulerId,
      nodeId: nodeId(),
      orderId: `order-${orders}`,
      jobId,
      epoch: 1,
      issuedAtMs,
      expiresAtMs,
    };
  };
  const seal = (by: FakeKey) => (body: string) => by.sign('flopd.v2 order', body);
  return {
    schedulerId,
    key,
    statements: [stateKeys(schedulerId, 1, [{ key }], key)],
    start(jobId, spec, change = {}, submission = null, by = key) {
      const text = typeof spec === 'string' ? spec : JSON.stringify(spec);
      const rest = { submitter: { user: 'alice' }, array: null, devices: [], submittedAtMs: 1 };
      return sealStart(seal(by), { ...fields(jobId), ...rest, ...change }, text, submission);
    },
    stop: (jobId, change = {}) =>
      sealStop(seal(key), { ...fields(jobId), by: 'alice', reason: 'enough', ...change }),
    exec: (execId, jobId, command, change = {}) =>
      sealExec(
        seal(key),
        { ...fields(jobId), execId, by: 'alice', ...change },
        { command: [...command], terminal: null, terminalType: null },
      ),
  };
}
