// Signed orders, of which nothing may pass that was not signed, and the socket of the job runner.
import { createPrivateKey, createPublicKey } from 'node:crypto';
import { isFault } from '../../../src/base/fault.ts';
import { publicKeyText } from '../../../src/base/key-file.ts';
import { decodeExecFrame, encodeExecFrame } from '../../../src/protocol/exec.ts';
import { createInputSigner, createInputVerifier } from '../../../src/protocol/exec-input.ts';
import { readStatement } from '../../../src/protocol/keys.ts';
import { ORDER_LIFE_MS, signedStartSchema } from '../../../src/protocol/order.ts';
import { type OpenedStart, openStart, sealStart } from '../../../src/protocol/order-seal.ts';
import { keyIdOf, sealText, signedSchema } from '../../../src/protocol/signed.ts';
import { createFrameReader, decodeBody, encodeFrame, encodeOutput } from '../../../src/runner/framing.ts';
import { parseAgentMessage, parseRunnerMessage } from '../../../src/runner/message.ts';
import { messages, result, spec } from '../../unit/protocol/messages.ts';
import { bytesOf, insist, jsonOf, type Target, textOf } from '../target.ts';

/** PKCS #8 of an Ed25519 key (RFC 8410), the same in each run. */
const privateKey = createPrivateKey({
  key: Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), Buffer.alloc(32, 7)]),
  format: 'der',
  type: 'pkcs8',
});
const publicKey = publicKeyText(privateKey);
const keyId = keyIdOf(publicKey);
const NOW_MS = 1_795_000_000_000;
const reader = {
  schedulerId: 'scheduler-1',
  nodeId: 'node-1',
  key: (id: string) => (id === keyId ? createPublicKey(privateKey) : null),
  nowMs: NOW_MS,
};
const start = sealStart(
  (body) => sealText(privateKey, keyId, 'flopd.v2 order', body),
  {
    ...{ schedulerId: 'scheduler-1', nodeId: 'node-1', orderId: 'order-1', jobId: 'job-1', epoch: 1 },
    ...{ issuedAtMs: NOW_MS, expiresAtMs: NOW_MS + ORDER_LIFE_MS, submittedAtMs: NOW_MS },
    ...{ submitter: { user: 'alice' }, array: null, devices: ['GPU-0'] },
  },
  JSON.stringify({ ...spec, resources: { ...spec.resources, accelerators: { count: 1 } } }),
  null,
);
const statement = sealText(
  privateKey,
  keyId,
  'flopd.v2 keys',
  JSON.stringify({
    version: 1,
    schedulerId: 'scheduler-1',
    serial: 1,
    keys: [{ publicKey, notBeforeMs: 0, notAfterMs: null }],
  }),
);

const input = Buffer.from('make all\n');
const typed = Buffer.from(
  encodeExecFrame({
    execId: 'exec-abc',
    channel: 'stdin',
    bytes: input,
    proof: createInputSigner('exec-abc', privateKey).prove({ kind: 'input', bytes: input }),
  }),
);

const job = { jobId: 'job-1', epoch: 1 };
const asked: readonly object[] = [
  { type: 'hello', version: 1 },
  { type: 'devices', vendors: ['nvidia'], devices: [] },
  { type: 'order', request: 1, order: start },
  { type: 'contact', sinceMs: 12.5, heartbeatMs: 2000 },
  { type: 'read', request: 2, ...job, stream: 'stdout', offset: 0, limit: 100 },
  { type: 'energy', request: 3, answer: { joules: 12, method: 'meter' } },
  messages['scheduler.exec'],
  messages['scheduler.execResize'],
  messages['scheduler.execSignal'],
];
const told: readonly object[] = [
  { type: 'jobs', held: [{ ...job, phase: 'running', devices: [] }] },
  { type: 'answer', request: 1, outcome: 'refused', code: 'JOB_TOO_MANY', message: 'no' },
  { type: 'grew', ...job, stdoutBytes: 1, stderrBytes: 2 },
  { type: 'ended', result },
  { type: 'pong', audit: null },
];

/** Every whole frame, each body as far as it is one. */
function readFrames(input: Uint8Array, parse: (text: string) => unknown): unknown {
  const found: unknown[] = [];
  const frames = createFrameReader((body) => {
    const incoming = decodeBody(Uint8Array.from(body));
    found.push(incoming.kind === 'message' ? parse(incoming.text) : incoming);
  });
  const half = input.length >> 1;
  frames.push(input.subarray(0, half));
  frames.push(input.subarray(half));
  return found;
}

const framesOf = (list: readonly object[]): Uint8Array[] => [
  ...list.map((message) => encodeFrame(JSON.stringify(message))),
  Buffer.concat([
    ...list.map((message) => encodeFrame(JSON.stringify(message))),
    encodeOutput(2, Buffer.from('x')),
  ]),
];

export const orderTargets: readonly Target[] = [
  {
    name: 'signed-order',
    faults: /^(ORDER_|JOB_ORDER_UNFIT$)/,
    seeds: () => [jsonOf(start)],
    read(input) {
      let value: unknown;
      try {
        value = JSON.parse(textOf(input));
      } catch {
        return null;
      }
      const message = signedStartSchema.safeParse(value);
      return message.success ? openStart(message.data, reader) : null;
    },
    check(made) {
      if (made === null) return;
      const { order } = made as OpenedStart;
      insist(
        JSON.stringify(order) === JSON.stringify(openStart(start, reader).order),
        'an order that nobody signed',
      );
    },
    weight: 2,
  },
  {
    name: 'key-statement',
    faults: /^never$/,
    seeds: () => [jsonOf(statement)],
    read(input) {
      let value: unknown;
      try {
        value = JSON.parse(textOf(input));
      } catch {
        return null;
      }
      const signed = signedSchema.safeParse(value);
      return signed.success ? readStatement(signed.data) : null;
    },
    check(made) {
      if (made === null) return;
      const { signed } = made as NonNullable<ReturnType<typeof readStatement>>;
      insist(signed.body === statement.body, 'a statement that nobody signed');
    },
  },
  {
    name: 'signed-input',
    faults: /^(LINK_FRAME_|never$)/,
    seeds: () => [typed],
    read(input) {
      const { execId, channel, bytes, proof } = decodeExecFrame(input);
      if (channel !== 'stdin' || execId !== 'exec-abc') return null;
      const problem = createInputVerifier(execId, publicKey).problem({ kind: 'input', bytes }, proof);
      return problem === null ? Buffer.from(input) : null;
    },
    check: (made) => insist(made === null || typed.equals(made as Buffer), 'input that nobody signed'),
  },
  {
    name: 'runner-asked',
    faults: /^(RUNNER_|LINK_)/,
    seeds: () => framesOf(asked),
    read: (input) => readFrames(input, parseAgentMessage),
    mend: mendLength,
  },
  {
    name: 'runner-told',
    faults: /^(RUNNER_|LINK_)/,
    seeds: () => framesOf(told),
    read: (input) => readFrames(input, parseRunnerMessage),
    mend: mendLength,
  },
  {
    name: 'runner-text',
    faults: /^RUNNER_/,
    seeds: () => [...asked, ...told].map(jsonOf),
    read(input) {
      const text = textOf(input);
      try {
        return parseAgentMessage(text);
      } catch (error) {
        if (!isFault(error)) throw error;
        return parseRunnerMessage(text);
      }
    },
    weight: 2,
  },
];

/** One frame of all of it. */
function mendLength(input: Uint8Array): Uint8Array {
  return input.length < 5 ? bytesOf('') : encodeFrame(input.subarray(4));
}
