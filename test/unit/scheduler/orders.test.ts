import { describe, expect, test } from 'vitest';
import type { JobReport, StartOrder } from '../../../src/protocol/control.ts';
import { MAX_FRAME_BYTES } from '../../../src/protocol/control.ts';
import { ORDER_LIFE_MS, type SignedStart } from '../../../src/protocol/order.ts';
import { openExec, openStart, openStop } from '../../../src/protocol/order-seal.ts';
import { jobSpecSchema } from '../../../src/protocol/spec.ts';
import { createOrders, requireFit, specText } from '../../../src/scheduler/orders.ts';
import { createSchedulerKey } from '../../../src/scheduler/scheduler-key.ts';
import { createFakeKey, signSubmission } from '../../fakes/signer.ts';
import { jobRecord } from './records.ts';

const NOW_MS = 1_795_000_000_000;
const key = createSchedulerKey(createFakeKey().privateKey, 'scheduler-1');
const orders = createOrders('scheduler-1', key, { wallMs: () => NOW_MS });
const reader = {
  schedulerId: 'scheduler-1',
  nodeId: 'node-1',
  key: () => key.ring.publicKeys()[0] ?? null,
  nowMs: NOW_MS,
};
const to = (version: number) => ({ nodeId: 'node-1', version });
const text = '{ "version": 1, "command": ["true"], "priority": 3 }';
const submission = { text, ...signSubmission(createFakeKey(), 'scheduler-1', text, NOW_MS) };
const job = jobRecord(
  { epoch: 2, nodeId: 'node-1', owner: 'alice', devices: ['GPU-1'], submittedAtMs: 7 },
  { priority: 3, environment: { A: '1' } },
);
const reportOf = (order: StartOrder | null, proof: SignedStart | null): JobReport => ({
  type: 'jobReport',
  jobId: job.id,
  epoch: 2,
  order,
  proof,
  phase: 'running',
  startedAtMs: 1,
  result: null,
});

describe('an order', () => {
  test('is signed for a node that speaks version 2, with a life of its own each time', () => {
    const message = orders.message(to(2), 'order-1', { kind: 'start', job }) as SignedStart;
    const { order, body } = openStart(message, reader);
    expect(order).toMatchObject({
      orderId: 'order-1',
      jobId: job.id,
      epoch: 2,
      devices: ['GPU-1'],
      spec: job.spec,
    });
    expect(body).toMatchObject({
      submitter: { user: 'alice' },
      submittedAtMs: 7,
      expiresAtMs: NOW_MS + ORDER_LIFE_MS,
    });
    // What has its default is left out: an older node refuses fields that it does not know.
    expect(message.spec).toBe('{"version":1,"command":["true"],"environment":{"A":"1"},"priority":3}');
    const stop = orders.message(to(2), 'order-2', { kind: 'stop', job, by: 'bob', reason: 'r' });
    expect(openStop(stop as never, reader).order).toMatchObject({ by: 'bob', reason: 'r' });
    const asked = {
      type: 'exec',
      execId: 'exec-1',
      jobId: job.id,
      epoch: 2,
      command: ['ls'],
      terminal: null,
      terminalType: null,
      by: 'bob',
    } as const;
    expect(openExec(orders.exec(to(2), { ...asked, command: ['ls'] }) as never, reader).order).toEqual(asked);
  });

  test('goes plain, with a seal, to a node of version 1', () => {
    const message = orders.message(to(1), 'order-1', { kind: 'start', job });
    expect(message).toMatchObject({ type: 'start', orderId: 'order-1', spec: { version: 1, priority: 3 } });
    expect(JSON.stringify(message)).not.toContain('keepWorkspace');
    expect(orders.message(to(1), 'order-2', { kind: 'stop', job, by: 'bob', reason: 'r' })).toMatchObject({
      type: 'stop',
    });
  });

  test('carries the text and signature of its submitter as they came', () => {
    const signed = { ...job, submission, spec: jobSpecSchema.parse(JSON.parse(text)) };
    const message = orders.message(to(2), 'order-1', { kind: 'start', job: signed }) as SignedStart;
    expect(message.spec).toBe(text);
    expect(message.submission).toEqual({
      publicKey: submission.publicKey,
      signedAtMs: NOW_MS,
      signature: submission.signature,
    });
  });

  test('is known again from what its node tells: signed, or sealed', () => {
    const signed = { ...job, submission };
    const message = orders.message(to(2), 'order-1', { kind: 'start', job: signed }) as SignedStart;
    const known = orders.read('node-1', reportOf(null, message));
    expect(known).toMatchObject({
      order: { jobId: job.id, epoch: 2 },
      submittedAtMs: 7,
      owner: 'alice',
      submission,
    });
    // Of another node, or changed: what it says of itself at best.
    expect(orders.read('node-2', reportOf(null, message))).toMatchObject({
      submittedAtMs: null,
      owner: null,
    });
    const other = createOrders('scheduler-1', createSchedulerKey(createFakeKey().privateKey, 'scheduler-1'), {
      wallMs: () => 1,
    });
    expect(other.read('node-1', reportOf(null, message))).toMatchObject({ submittedAtMs: null });
    expect(orders.read('node-1', reportOf(null, { ...message, spec: '{}' }))).toBeNull();
    const sealed = orders.message(to(1), 'order-1', { kind: 'start', job }) as StartOrder;
    const parsed = { ...sealed, spec: jobSpecSchema.parse(sealed.spec) };
    expect(orders.read('node-1', reportOf(parsed, null))).toMatchObject({
      submittedAtMs: 7,
      submission: null,
    });
    expect(orders.read('node-1', reportOf(null, null))).toBeNull();
  });
});

describe('a submission', () => {
  test('whose order would not fit into a frame is refused with its longest field', () => {
    const fits = (change: object, submitted: string | null = null) => {
      const spec = jobSpecSchema.parse({ version: 1, command: ['true'], ...change });
      const signed = submitted === null ? null : { ...submission, text: submitted };
      requireFit({ spec, submission: signed });
      return Buffer.byteLength(JSON.stringify(specText({ spec, submission: signed })));
    };
    // The longest command that is legal, in the longest way to write it.
    expect(fits({ command: ['\u0001'.repeat(120 * 1024)] })).toBeLessThan(MAX_FRAME_BYTES);
    const inputs = Array.from({ length: 64 }, (_, at) => ({
      path: `${at}${'\u0001'.repeat(1000)}`,
      kind: 'file',
      digest: 'a'.repeat(64),
      sizeBytes: 1,
    }));
    expect(() => fits({ command: ['\u0001'.repeat(120 * 1024)], inputs })).toThrow(
      expect.objectContaining({
        code: 'JOB_ORDER_TOO_LONG',
        field: 'command',
        remedy: expect.stringContaining('file'),
      }),
    );
    expect(() => fits({}, `${' '.repeat(900 * 1024)}${text}`)).toThrow('would be longer');
  });
});
