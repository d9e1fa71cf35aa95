import { createHmac } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isFault } from '../../../src/base/fault.ts';
import { ORDER_LIFE_MS, ORDER_SKEW_MS, type SignedStart } from '../../../src/protocol/order.ts';
import {
  type OrderReader,
  openExec,
  openStart,
  openStop,
  readStart,
} from '../../../src/protocol/order-seal.ts';
import { createFakeKey, createFakeSigner, signSubmission } from '../../fakes/signer.ts';

const NOW_MS = 1_795_000_000_000;
const signer = createFakeSigner(
  'scheduler-1',
  () => 'node-1',
  () => NOW_MS,
);
const spec = { version: 1, command: ['sh', '-c', 'echo "$A"'], environment: { A: 'ä \u2028 "x"' } };
const text = JSON.stringify(spec, null, 2);
const submitter = createFakeKey();
const submission = signSubmission(submitter, 'scheduler-1', text, NOW_MS);

const reader = (change: Partial<OrderReader> = {}): OrderReader => ({
  schedulerId: 'scheduler-1',
  nodeId: 'node-1',
  key: (keyId) => (keyId === signer.key.keyId ? signer.key.privateKey : null),
  nowMs: NOW_MS,
  ...change,
});

/** The code of the refusal; '' where it is opened. */
function codeOf(open: () => unknown): string {
  try {
    open();
    return '';
  } catch (error) {
    if (isFault(error)) return error.code;
    throw error;
  }
}

describe('an order', () => {
  test('is carried out as it was signed: what is parsed is the very text that was submitted', () => {
    const { order, body } = openStart(
      signer.start('job-1', text, { devices: ['GPU-1'] }, submission),
      reader(),
    );
    expect(order).toMatchObject({ type: 'start', jobId: 'job-1', epoch: 1, devices: ['GPU-1'], seal: null });
    expect(order.spec).toMatchObject({ ...spec, priority: 0 });
    expect(body).toMatchObject({ nodeId: 'node-1', submitter: { user: 'alice' } });
    expect(openStop(signer.stop('job-1'), reader()).order).toMatchObject({ type: 'stop', by: 'alice' });
    expect(openExec(signer.exec('exec-1', 'job-1', ['ls', '-l']), reader()).order).toMatchObject({
      type: 'exec',
      command: ['ls', '-l'],
      terminal: null,
    });
  });

  test('in which one character is another is refused, wherever it is', () => {
    const orders = [
      ['start', signer.start('job-1', text, { devices: ['GPU-1'] }, submission)] as const,
      ['stop', signer.stop('job-1')] as const,
      ['exec', signer.exec('exec-1', 'job-1', ['ls'])] as const,
    ];
    const open = { start: openStart, stop: openStop, exec: openExec } as const;
    fc.assert(
      fc.property(
        fc.constantFrom(...orders),
        fc.nat(),
        fc.integer({ min: 1, max: 0x7f }),
        ([kind, message], at, turn) => {
          const leaves = leavesOf(message).filter(({ path }) => path.join() !== 'type');
          const leaf = leaves[at % leaves.length];
          if (leaf === undefined) return;
          const place = Math.floor(at / leaves.length) % leaf.text.length;
          const changed = String.fromCharCode(leaf.text.charCodeAt(place) ^ turn || 1);
          const whole = leaf.text.slice(0, place) + changed + leaf.text.slice(place + 1);
          const twisted = withLeaf(message, leaf, whole);
          expect(codeOf(() => open[kind](twisted as never, reader()))).toMatch(
            /^ORDER_(SIGNATURE|KEY_UNKNOWN|CHANGED)$/,
          );
        },
      ),
      { numRuns: 600 },
    );
  });

  test('cut short, or with a piece of another, is refused', () => {
    const one = signer.start('job-1', text, {}, submission);
    const other = signer.start('job-2', JSON.stringify({ ...spec, command: ['rm'] }));
    const mixed: readonly (readonly [object, string])[] = [
      [{ spec: other.spec }, 'ORDER_CHANGED'],
      [{ spec: `${one.spec} ` }, 'ORDER_CHANGED'],
      [{ signed: other.signed }, 'ORDER_CHANGED'],
      [{ submission: null }, 'ORDER_CHANGED'],
      [{ submission: { ...submission, signedAtMs: NOW_MS - 1 } }, 'ORDER_CHANGED'],
      [{ signed: { ...one.signed, body: other.signed.body } }, 'ORDER_SIGNATURE'],
      [{ signed: { ...one.signed, signature: other.signed.signature } }, 'ORDER_SIGNATURE'],
      [{ signed: { ...one.signed, body: one.signed.body.slice(0, -1) } }, 'ORDER_SIGNATURE'],
      [{ jobId: 'job-2' }, 'ORDER_CHANGED'],
      [{ epoch: 2 }, 'ORDER_CHANGED'],
    ];
    for (const [change, code] of mixed)
      expect([change, codeOf(() => openStart({ ...one, ...change } as SignedStart, reader()))]).toEqual([
        change,
        code,
      ]);
    // Half a character has no bytes of its own: its digest is that of another text.
    const halved = signer.start('job-1', JSON.stringify({ ...spec, name: '\ufffd' }));
    const lone = halved.spec.replace('\ufffd', '\ud800');
    expect(codeOf(() => openStart({ ...halved, spec: lone }, reader()))).toBe('ORDER_CHANGED');
  });

  test('is for one node of one scheduler, for a short while', () => {
    const refused = (change: object, at: Partial<OrderReader> = {}) =>
      codeOf(() => openStart(signer.start('job-1', text, change), reader(at)));
    expect(refused({}, { nodeId: 'node-2' })).toBe('ORDER_OTHER_NODE');
    expect(refused({ nodeId: 'node-2' })).toBe('ORDER_OTHER_NODE');
    expect(refused({ schedulerId: 'scheduler-2' })).toBe('ORDER_OTHER_SCHEDULER');
    const end = NOW_MS + ORDER_LIFE_MS + ORDER_SKEW_MS;
    expect(refused({}, { nowMs: end })).toBe('');
    expect(refused({}, { nowMs: end + 1 })).toBe('ORDER_EXPIRED');
    expect(refused({}, { nowMs: NOW_MS - ORDER_SKEW_MS })).toBe('');
    expect(refused({}, { nowMs: NOW_MS - ORDER_SKEW_MS - 1 })).toBe('ORDER_NOT_YET');
    expect(refused({ expiresAtMs: NOW_MS + 100 * 365 * 86_400_000 })).toBe('ORDER_EXPIRED');
  });

  test('of another key, purpose, algorithm or kind is refused', () => {
    const { key } = signer;
    const stranger = createFakeKey();
    expect(codeOf(() => openStart(signer.start('job-1', text, {}, null, stranger), reader()))).toBe(
      'ORDER_KEY_UNKNOWN',
    );
    const order = signer.start('job-1', text);
    const { body } = order.signed;
    const signed = (change: object) => ({ ...order, signed: { ...order.signed, ...change } });
    expect(codeOf(() => openStart(signed(key.sign('flopd.v2 node', body)), reader()))).toBe(
      'ORDER_SIGNATURE',
    );
    // The public key as a secret: what "HS256" would make of it.
    const forged = Buffer.alloc(64);
    createHmac('sha512', key.publicKey).update(body).digest().copy(forged);
    expect(codeOf(() => openStart(signed({ signature: forged.toString('base64') }), reader()))).toBe(
      'ORDER_SIGNATURE',
    );
    expect(codeOf(() => openStart(signed({ signature: '' }), reader()))).toBe('ORDER_SIGNATURE');
    // A body of another kind, signed all right.
    const stop = signer.stop('job-1');
    expect(codeOf(() => openStart(signed(stop.signed), reader()))).toBe('JOB_ORDER_UNFIT');
    expect(codeOf(() => openStop({ ...stop, signed: order.signed }, reader()))).toBe('JOB_ORDER_UNFIT');
  });

  test('is not understood where its specification has what this build does not know, or is none', () => {
    const unfit = (of: object | string) => codeOf(() => openStart(signer.start('job-1', of), reader()));
    expect(unfit({ ...spec, qubits: 3 })).toBe('JOB_ORDER_UNFIT');
    expect(unfit('no JSON')).toBe('JOB_ORDER_UNFIT');
    expect(unfit('['.repeat(100_000))).toBe('JOB_ORDER_UNFIT');
    expect(unfit({ ...spec, critical: ['x'] })).toBe('JOB_ORDER_UNFIT');
  });

  test('of a newer scheduler is carried out without what it adds, unless that is critical', () => {
    const extended = (more: object) => {
      const order = signer.start('job-1', text);
      const body = JSON.stringify({ ...JSON.parse(order.signed.body), ...more });
      return { ...order, signed: signer.key.sign('flopd.v2 order', body) };
    };
    expect(codeOf(() => openStart(extended({ colour: 'red' }), reader()))).toBe('');
    expect(codeOf(() => openStart(extended({ colour: 'red', critical: ['colour'] }), reader()))).toBe(
      'JOB_ORDER_UNFIT',
    );
  });

  test('is read again from a journal, whatever time it is', () => {
    expect(readStart(signer.start('job-1', text, {}, submission)).order.jobId).toBe('job-1');
  });
});

interface Leaf {
  readonly path: readonly string[];
  readonly text: string;
  readonly isNumber: boolean;
}

function leavesOf(value: unknown, path: readonly string[] = []): Leaf[] {
  if (typeof value === 'string') return value === '' ? [] : [{ path, text: value, isNumber: false }];
  if (typeof value === 'number') return [{ path, text: String(value), isNumber: true }];
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) => leavesOf(inner, [...path, key]));
}

function withLeaf(value: unknown, { path, isNumber }: Leaf, text: string): unknown {
  const [step, ...rest] = path;
  if (step === undefined) return isNumber ? Number(text) : text;
  const inner = (value as Record<string, unknown>)[step];
  return { ...(value as object), [step]: withLeaf(inner, { path: rest, text, isNumber }, text) };
}
