// A taken-over agent: a program with the agent's rights that says to the runner whatever it likes. Nothing starts that
// the scheduler has not signed for this node and now, no path is read, no device named that is none, and whatever else
// comes, the runner stays.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { sealStop } from '../../../src/protocol/order-seal.ts';
import type { Signed } from '../../../src/protocol/signed.ts';
import { encodeFrame, MAX_RUNNER_FRAME_BYTES } from '../../../src/runner/framing.ts';
import {
  createRunnerBed,
  credentialOf,
  makeKeys,
  nodeId,
  openPeer,
  type Peer,
  type RunnerBed,
  signedStart,
  statementOf,
} from './bed.ts';

let bed: RunnerBed;
let agent: Peer;
let request = 0;
beforeAll(async () => {
  bed = createRunnerBed();
  await bed.start();
  agent = await bed.agent();
});
afterAll(() => bed.close());

const mark = (name: string): string => join(bed.folder, name);
const touching = (name: string) => ({ command: ['touch', mark(name)] });

async function order(message: object): Promise<Record<string, unknown>> {
  request += 1;
  agent.say({ type: 'order', request, order: message });
  return agent.next('answer', request);
}

/** The runner still does what is signed, for a new agent. */
async function expectWell(jobId: string): Promise<void> {
  agent.close();
  agent = await bed.agent();
  const answer = await order(signedStart(bed.keys.seal, jobId, touching(jobId)));
  expect(answer).toMatchObject({ outcome: 'accepted' });
  await agent.ended(jobId);
  expect(existsSync(mark(jobId))).toBe(true);
}

describe('a taken-over agent', () => {
  test('has what is signed carried out, once', async () => {
    const good = signedStart(bed.keys.seal, 'job-good', touching('good'));
    expect(await order(good)).toMatchObject({ outcome: 'accepted', code: null });
    const { state, cause } = await agent.ended('job-good');
    expect(state, cause).toBe('COMPLETED');
    expect(existsSync(mark('good'))).toBe(true);
    expect(await order(good)).toMatchObject({ outcome: 'duplicate' });
  });

  test.each([
    ['of nobody', () => ({ ...unsigned(), jobId: 'job-bad1' }), 'ORDER_UNSIGNED'],
    [
      'signed by itself',
      () => signedStart(makeKeys().seal, 'job-bad2', touching('bad')),
      'ORDER_KEY_UNKNOWN',
    ],
    ['whose command was changed', () => changed('job-bad3'), 'ORDER_CHANGED'],
    [
      'whose signature is of another order',
      () => {
        const other = signedStart(bed.keys.seal, 'job-bad4', touching('bad'));
        const { signature } = signedStart(bed.keys.seal, 'job-bad4', touching('other')).signed;
        return { ...other, signed: { ...other.signed, signature } };
      },
      'ORDER_SIGNATURE',
    ],
    [
      'for another node',
      () => signedStart(bed.keys.seal, 'job-bad5', touching('bad'), { nodeId: 'node-2' }),
      'ORDER_OTHER_NODE',
    ],
    [
      'of another scheduler',
      () => signedStart(bed.keys.seal, 'job-bad6', touching('bad'), { schedulerId: 'scheduler-2' }),
      'ORDER_OTHER_SCHEDULER',
    ],
    [
      'that has expired',
      () =>
        signedStart(bed.keys.seal, 'job-bad7', touching('bad'), {
          issuedAtMs: Date.now() - 3_600_000,
          expiresAtMs: Date.now() - 3_000_000,
        }),
      'ORDER_EXPIRED',
    ],
    [
      'under another name',
      () => ({ ...signedStart(bed.keys.seal, 'job-bad8', touching('bad')), jobId: 'job-bad9' }),
      'ORDER_CHANGED',
    ],
  ])('starts no order %s', async (_, make, code) => {
    expect(await order(make())).toMatchObject({ outcome: 'refused', code });
    expect(existsSync(mark('bad'))).toBe(false);
    expect(bed.lines.some(({ fields }) => fields.code === code)).toBe(true);
  });

  test('brings in no keys of its own, and none for an order of them', async () => {
    const own = makeKeys();
    agent.say({ type: 'keys', statements: [statementOf(own, 2)] });
    expect(await order(signedStart(own.seal, 'job-own', touching('bad')))).toMatchObject({
      code: 'ORDER_KEY_UNKNOWN',
    });
    expect(existsSync(mark('bad'))).toBe(false);
  });

  test('moves the node nowhere: what it is comes from a credential that its scheduler signed, the latest', async () => {
    const file = join(bed.folder, 'state', 'runner', 'node.json');
    const kept = () => JSON.parse(readFileSync(file, 'utf8')).signedCredential as Signed | null;
    const good = credentialOf(bed.keys, 2);
    for (const credential of [
      credentialOf(makeKeys(), 3),
      { ...good, body: good.body.replace('CN-GD', 'CN-GZ') },
    ])
      agent.say({ type: 'credential', credential });
    agent.say({ type: 'credential', credential: good });
    agent.say({ type: 'credential', credential: credentialOf(bed.keys, 1) });
    request += 1;
    agent.say({ type: 'report', request, jobId: 'job-none', epoch: 1 });
    await agent.next('reported', request);
    expect(kept()).toEqual(good);
  });

  test('stops no job with an order that it has made up', async () => {
    expect(
      await order({ type: 'stop', orderId: 'order-9', jobId: 'job-good', epoch: 1, by: 'me', reason: '' }),
    ).toMatchObject({ code: 'ORDER_UNSIGNED' });
    const nowMs = Date.now();
    const fields = { schedulerId: 'scheduler-1', nodeId, orderId: 'order-9', jobId: 'job-good', epoch: 1 };
    const stamps = { issuedAtMs: nowMs, expiresAtMs: nowMs + 60_000, by: 'me', reason: '' };
    expect(await order(sealStop(makeKeys().seal, { ...fields, ...stamps }))).toMatchObject({
      code: 'ORDER_KEY_UNKNOWN',
    });
  });

  test('reads the output of jobs alone', async () => {
    agent.say({
      type: 'read',
      request: 70,
      jobId: 'job-none',
      epoch: 1,
      stream: 'stdout',
      offset: 0,
      limit: 9,
    });
    expect(await agent.next('output', 70)).toMatchObject({ bytes: null });
    agent.say({
      ...{ type: 'read', request: 71, jobId: '../../../../etc', epoch: 1, stream: 'passwd', offset: 0 },
      limit: 9,
    });
    await agent.closed;
    await expectWell('job-read');
  });

  test.each([
    ['a path of a device node', { nodes: ['/dev/sda'] }],
    ['a number that leads elsewhere', { nodeNumber: '../mem' }],
    ['a vendor that nobody knows', { vendor: 'mem' }],
    ['a list in the place of an id', { id: 'GPU-1,GPU-2' }],
  ])('names no device by %s', async (_, change) => {
    const device = {
      ...{
        slot: 0,
        parentSlot: null,
        vendor: 'nvidia',
        index: 0,
        id: 'GPU-1',
        parentId: null,
        nodeNumber: 0,
      },
      ...{ rung: 'ok', faults: [], cordon: null, ...change },
    };
    agent.say({ type: 'devices', vendors: ['nvidia'], devices: [device] });
    await agent.closed;
    agent = await bed.agent();
  });

  test('overflows no length: a frame that declares too much ends its connection before a byte of it came', async () => {
    for (const length of [0, MAX_RUNNER_FRAME_BYTES + 1, 0x7fff_ffff, 0xffff_ffff]) {
      const peer = await openPeer(bed.socket);
      const head = Buffer.alloc(4);
      head.writeUInt32BE(length);
      peer.raw(head);
      await peer.closed;
    }
    await expectWell('job-length');
  });

  test('must say hello first, in the one version that there is', async () => {
    for (const message of [
      { type: 'ping' },
      { type: 'order', request: 1, order: signedStart(bed.keys.seal, 'job-early', touching('bad')) },
      { type: 'hello', version: 2 },
      { type: 'files', ticket: 'a'.repeat(24) },
    ]) {
      const peer = await openPeer(bed.socket);
      peer.say(message);
      await peer.closed;
    }
    expect(existsSync(mark('bad'))).toBe(false);
  });

  test('whatever nonsense it writes, the runner stays and nothing starts', async () => {
    const text = fc.oneof(
      fc.json({ maxDepth: 6 }),
      fc.constant('['.repeat(100_000)),
      fc.constant('{"type":"order","__proto__":{"type":"start"}}'),
      fc
        .constantFrom('hello', 'order', 'devices', 'contact', 'read', 'exec', 'energy', 'keys')
        .chain((type) =>
          fc
            .dictionary(fc.string(), fc.jsonValue({ maxDepth: 3 }))
            .map((rest) => JSON.stringify({ ...rest, type })),
        ),
    );
    const body = fc.oneof(
      text.map((one) => Buffer.from(one === '' ? ' ' : one)),
      fc.uint8Array({ minLength: 1, maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
    );
    const nonsense = fc.oneof(
      body.map((one) => Buffer.from(encodeFrame(one))),
      fc.uint8Array({ minLength: 1, maxLength: 64 }).map((bytes) => Buffer.from(bytes)),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.boolean(),
        fc.array(nonsense, { minLength: 1, maxLength: 4 }),
        async (greets, all) => {
          const peer = await openPeer(bed.socket);
          if (greets) {
            peer.say({ type: 'hello', version: 1 });
            await peer.next('told');
          }
          for (const bytes of all) peer.raw(bytes);
          peer.socket.end();
          await peer.closed;
        },
      ),
      { numRuns: 100, verbose: 1 },
    );
    await expectWell('job-fuzz');
    expect(bed.lines.some(({ fields }) => String(fields.code).startsWith('RUNNER_'))).toBe(true);
  });
});

function unsigned() {
  return {
    ...{
      type: 'start',
      orderId: 'order-1',
      jobId: 'job-bad1',
      epoch: 1,
      array: null,
      devices: [],
      seal: null,
    },
    spec: { version: 1, ...touching('bad') },
  };
}

function changed(jobId: string) {
  const signed = signedStart(bed.keys.seal, jobId, { command: ['true'] });
  return { ...signed, spec: JSON.stringify({ version: 1, ...touching('bad') }) };
}
