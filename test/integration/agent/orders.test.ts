// The whole agent, with its real shim, and a scheduler that signs as it should, wrongly, or not at all (A10, A15, A18, A19,
// A20, F11). What counts is the ledger: a file that each program that runs writes a line to.
import { execFileSync } from 'node:child_process';
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { AgentOptions } from '../../../src/agent/agent.ts';
import type { AgentMessage } from '../../../src/protocol/control.ts';
import { REVOKED_MS } from '../../../src/protocol/keys.ts';
import { ORDER_LIFE_MS, ORDER_SKEW_MS } from '../../../src/protocol/order.ts';
import { type FakeScheduler, until } from '../../fakes/scheduler.ts';
import { createFakeKey, createFakeSigner, type FakeSigner, stateKeys } from '../../fakes/signer.ts';
import { type AgentBed, createAgentBed } from './bed.ts';

const WAIT_MS = 25_000;
let bed: AgentBed;
let ledger: string;
let nodeId = '';
let signer: FakeSigner;
beforeEach(() => {
  bed = createAgentBed();
  ledger = join(bed.folder, 'ledger');
  writeFileSync(ledger, '');
  chmodSync(ledger, 0o666);
  signer = createFakeSigner('scheduler-fake000001', () => nodeId);
});
afterEach(() => bed.close());

const ran = (): string[] =>
  readFileSync(ledger, 'utf8')
    .split('\n')
    .filter((line) => line !== '');
const spec = (word: string) => ({
  version: 1,
  command: ['sh', '-c', `echo ${word} >>${ledger}`],
  resources: { cpus: 0.1 },
});
const acks = (fake: FakeScheduler) =>
  fake.sessions.flatMap(({ messages }) =>
    messages.filter(
      (message): message is Extract<AgentMessage, { type: 'orderAck' }> => message.type === 'orderAck',
    ),
  );

async function begin(options: Partial<AgentOptions['config']['orders']> = {}) {
  const fake = await bed.scheduler({ keys: signer.statements });
  const agent = await start(fake, options);
  return { fake, agent };
}

async function start(fake: FakeScheduler, orders: Partial<AgentOptions['config']['orders']> = {}) {
  const agent = await bed.agent({
    scheduler: fake.url,
    joinToken: 'join-token',
    orders: { signatures: 'require', submitters: null, ...orders },
  });
  nodeId = agent.nodeId;
  await agent.connected(WAIT_MS);
  return agent;
}

/** Sends it in the present session, and in each that comes, until it is answered. */
async function ask(fake: FakeScheduler, order: { readonly orderId: string }) {
  const find = () => acks(fake).find(({ orderId }) => orderId === order.orderId);
  const told = new Set<unknown>();
  await until(
    () => {
      const last = fake.sessions.at(-1);
      if (last !== undefined && last.hello !== null && last.socket.readyState === 1 && !told.has(last)) {
        told.add(last);
        last.send(order);
      }
      return find() !== undefined;
    },
    `an answer to ${order.orderId}`,
    WAIT_MS,
  );
  const { outcome, code, message } = find() as Extract<AgentMessage, { type: 'orderAck' }>;
  return { outcome, code, message };
}

describe('a node', () => {
  test('carries out what its scheduler signed, and nothing that is signed wrongly or for others', async () => {
    const { fake } = await begin();
    expect(fake.sessions[0]?.hello?.versions).toMatchObject({ min: 1, max: 2 });
    const good = signer.start('job-1', spec('good'));
    expect(await ask(fake, good)).toMatchObject({ outcome: 'accepted' });
    const stranger = createFakeKey();
    const text = JSON.stringify(spec('evil'));
    const late = Date.now() - ORDER_LIFE_MS - 2 * ORDER_SKEW_MS;
    const early = Date.now() + 2 * ORDER_SKEW_MS;
    const body = (change: object) =>
      JSON.stringify({ ...JSON.parse(signer.start('job-9', text).signed.body), ...change });
    const evil = signer.start('job-9', text);
    const cases: readonly (readonly [string, object, string])[] = [
      [
        'no signature',
        { type: 'start', orderId: 'x', jobId: 'job-9', epoch: 1, spec: spec('evil') },
        'ORDER_UNSIGNED',
      ],
      ['a key of nobody', signer.start('job-9', text, {}, null, stranger), 'ORDER_KEY_UNKNOWN'],
      [
        'a key of nobody under the name of a good one',
        {
          ...evil,
          signed: { ...stranger.sign('flopd.v2 order', evil.signed.body), keyId: signer.key.keyId },
        },
        'ORDER_SIGNATURE',
      ],
      [
        'a signature for another purpose',
        { ...evil, signed: signer.key.sign('flopd.v2 job', evil.signed.body) },
        'ORDER_SIGNATURE',
      ],
      [
        'a name of an algorithm',
        { ...evil, signed: stranger.sign('flopd.v2 order', body({ alg: 'none' })) },
        'ORDER_KEY_UNKNOWN',
      ],
      ['another node', signer.start('job-9', text, { nodeId: 'node-other' }), 'ORDER_OTHER_NODE'],
      [
        'another scheduler',
        signer.start('job-9', text, { schedulerId: 'scheduler-other' }),
        'ORDER_OTHER_SCHEDULER',
      ],
      [
        'a time that is over',
        signer.start('job-9', text, { issuedAtMs: late, expiresAtMs: late + ORDER_LIFE_MS }),
        'ORDER_EXPIRED',
      ],
      [
        'a time to come',
        signer.start('job-9', text, { issuedAtMs: early, expiresAtMs: early + ORDER_LIFE_MS }),
        'ORDER_NOT_YET',
      ],
      ['a hundred years', signer.start('job-9', text, { expiresAtMs: Date.now() * 2 }), 'ORDER_EXPIRED'],
      [
        'another command',
        { ...good, orderId: good.orderId, spec: good.spec.replace('good', 'evil') },
        'ORDER_CHANGED',
      ],
      [
        'a variable more',
        { ...evil, spec: evil.spec.replace('{', '{"environment":{"A":"1"},') },
        'ORDER_CHANGED',
      ],
      ['another job', { ...evil, jobId: 'job-8' }, 'ORDER_CHANGED'],
      ['another epoch', { ...evil, epoch: 7 }, 'ORDER_CHANGED'],
      [
        'a field that it does not know',
        signer.start('job-9', { ...spec('evil'), isolation: 'off' }),
        'JOB_ORDER_UNFIT',
      ],
      [
        'a stop without a signature',
        { type: 'stop', orderId: 'x', jobId: 'job-1', epoch: 1, by: 'm', reason: '' },
        'ORDER_UNSIGNED',
      ],
      ['a stop for another node', signer.stop('job-1', { nodeId: 'node-other' }), 'ORDER_OTHER_NODE'],
      [
        'a start in the clothes of a stop',
        { ...signer.stop('job-1'), signed: evil.signed },
        'JOB_ORDER_UNFIT',
      ],
    ];
    let at = 0;
    for (const [what, order, code] of cases) {
      at += 1;
      // The order's own id stands in its body as well: where both must fit, an answer is told by its place.
      const named = 'signed' in order ? order : { ...order, orderId: `order-u${at}` };
      const before = acks(fake).length;
      fake.sessions.at(-1)?.send(named);
      await until(() => acks(fake).length > before, `an answer to ${what}`, WAIT_MS);
      expect([what, acks(fake).at(-1)]).toMatchObject([what, { outcome: 'refused', code }]);
    }
    expect(await ask(fake, signer.start('job-2', spec('after')))).toMatchObject({ outcome: 'accepted' });
    await until(() => fake.results.size === 2, 'both ends', WAIT_MS);
    expect(ran()).toEqual(['good', 'after']);
    // Closed nothing, and one session all the time.
    expect(fake.sessions.filter(({ complaints }) => complaints.length > 0)).toEqual([]);
  });

  test('starts nothing for a copy of a genuine order, whenever it comes, and nothing of an older attempt', async () => {
    const { fake, agent } = await begin();
    const order = signer.start('job-1', spec('once'), { epoch: 2 });
    expect(await ask(fake, order)).toMatchObject({ outcome: 'accepted' });
    await until(() => fake.results.has('job-1.2'), 'its end', WAIT_MS);
    const copies = (): number => acks(fake).filter(({ orderId }) => orderId === order.orderId).length;
    const again = async (): Promise<void> => {
      const before = copies();
      fake.sessions.at(-1)?.send(order);
      await until(() => copies() > before, 'an answer to the copy', WAIT_MS);
      expect(acks(fake).at(-1)?.outcome).toBe('duplicate');
    };
    await again();
    const old = signer.start('job-1', spec('old'), { epoch: 1 });
    expect(await ask(fake, old)).toMatchObject({ outcome: 'refused', code: 'JOB_EPOCH_STALE' });
    await agent.close();
    const restarted = await start(fake);
    await again();
    await restarted.close();
    // Its host was rebooted: its boot id is another one.
    const proc = join(bed.folder, 'proc');
    execFileSync('sh', [
      '-c',
      `mkdir -p ${proc}/sys/kernel/random && for f in stat meminfo cpuinfo self loadavg uptime; do ln -s /proc/$f ${proc}/$f; done; cat /proc/sys/kernel/random/uuid >${proc}/sys/kernel/random/boot_id`,
    ]);
    const rebooted = await bed.agent({
      scheduler: fake.url,
      joinToken: 'join-token',
      orders: { signatures: 'require', submitters: null },
      host: { procRoot: proc, sysRoot: '/sys', environment: process.env, random: Math.random },
    });
    await rebooted.connected(WAIT_MS);
    await again();
    expect(await ask(fake, { ...old, orderId: old.orderId })).toMatchObject({ code: 'JOB_EPOCH_STALE' });
    expect(ran()).toEqual(['once']);
  });

  test('follows its scheduler to the next key, and no one else', async () => {
    const { fake, agent } = await begin();
    const next = createFakeKey();
    const by = (key: typeof next, job: string) => signer.start(job, spec(job), {}, null, key);
    expect(await ask(fake, by(next, 'job-1'))).toMatchObject({ code: 'ORDER_KEY_UNKNOWN' });
    const mallory = createFakeKey();
    fake.sessions
      .at(-1)
      ?.send({ type: 'keys', statements: [stateKeys(signer.schedulerId, 2, [{ key: mallory }], mallory)] });
    expect(await ask(fake, by(mallory, 'job-2'))).toMatchObject({ code: 'ORDER_KEY_UNKNOWN' });
    const second = stateKeys(signer.schedulerId, 2, [{ key: signer.key }, { key: next }], signer.key);
    fake.sessions.at(-1)?.send({ type: 'keys', statements: [...signer.statements, second] });
    expect(await ask(fake, by(next, 'job-3'))).toMatchObject({ outcome: 'accepted' });
    fake.behaviour = { ...fake.behaviour, keys: [...signer.statements, second] };
    await agent.close();
    await start(fake);
    expect(await ask(fake, by(next, 'job-4'))).toMatchObject({ outcome: 'accepted' });
    await until(() => fake.results.size === 2, 'both ends', WAIT_MS);
    expect(ran()).toEqual(['job-3', 'job-4']);
  });

  test('takes nothing by a key that is revoked from when it hears of it, and the same order signed anew', async () => {
    const { fake } = await begin();
    expect(await ask(fake, signer.start('job-1', spec('before'), {}))).toMatchObject({ outcome: 'accepted' });
    const next = createFakeKey();
    const late = signer.start('job-2', spec('late'), {});
    const keys = [{ key: signer.key, notAfterMs: REVOKED_MS }, { key: next }];
    const revoking = stateKeys(signer.schedulerId, 2, keys, signer.key);
    fake.sessions.at(-1)?.send({ type: 'keys', statements: [...signer.statements, revoking] });
    // Signed before, and under way.
    expect(await ask(fake, late)).toMatchObject({ code: 'ORDER_KEY_UNKNOWN' });
    const anew = signer.start('job-2', spec('anew'), {}, null, next);
    expect(await ask(fake, anew)).toMatchObject({ outcome: 'accepted' });
    await until(() => fake.results.size === 2, 'both ends', WAIT_MS);
    expect(ran().sort()).toEqual(['anew', 'before']);
  });

  test('that was enrolled before there were keys believes those of its first welcome, once', async () => {
    const fake = await bed.scheduler({ keys: signer.statements, enrolsWithoutKeys: true });
    await start(fake);
    expect(await ask(fake, signer.start('job-1', spec('first')))).toMatchObject({ outcome: 'accepted' });
    expect(
      bed.log.lines.filter(({ message }) => message.includes('trusted for the first time')),
    ).toHaveLength(1);
    await until(() => fake.results.size === 1, 'its end', WAIT_MS);
    expect(ran()).toEqual(['first']);
  });

  test('takes orders of a scheduler that signs none only where its operator says so', async () => {
    const fake = await bed.scheduler();
    const careful = await start(fake);
    const plain = (job: string, orderId: string) => ({
      type: 'start',
      orderId,
      jobId: job,
      epoch: 1,
      spec: spec(job),
    });
    const refused = await ask(fake, plain('job-1', 'order-a'));
    expect(refused).toMatchObject({ outcome: 'refused', code: 'ORDER_UNSIGNED' });
    expect(refused.message).toContain('orders.signatures: optional');
    await careful.close();
    await start(fake, { signatures: 'optional' });
    expect(await ask(fake, plain('job-1', 'order-b'))).toMatchObject({ outcome: 'accepted' });
    await until(() => fake.results.size === 1, 'its end', WAIT_MS);
    expect(ran()).toEqual(['job-1']);
  });
});
