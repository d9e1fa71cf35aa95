// A scheduler that comes back with an empty or an old store: what its nodes tell makes the truth again, nothing that runs
// is killed, and nobody can slip in what was never ordered.
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import type { JobReport, StartOrder } from '../../../src/protocol/control.ts';
import type { JobResult } from '../../../src/protocol/result.ts';
import { connectFake, enrolFake, type FakeAgent, type FakeIdentity, fakeResult } from '../../fakes/agent.ts';
import { type Bed, freshFolder, startBed } from './bed.ts';

const open: Bed[] = [];
afterEach(async () => {
  for (const bed of open.splice(0)) await bed.close();
});

/** A node with one running job; then the scheduler is stopped and loses the files that `lost` names. */
async function runAndLose(lost: (name: string) => boolean) {
  const stateDir = freshFolder();
  const bed = await startBed(stateDir);
  const identity = await enrolFake(bed.url, bed.scheduler.joinTokenFile, 'node-a');
  const orders = new Map<string, StartOrder>();
  const agent = await connectFake({
    url: bed.url,
    identity,
    run(order) {
      orders.set(order.jobId, order);
      return { forMs: 10_000_000 };
    },
  });
  const { id } = await bed.submit({
    name: 'precious',
    command: ['sleep', '60'],
    environment: { B: '2', A: '1' },
    retry: { times: 3 },
  });
  await bed.until(id, ({ state }) => state === 'RUNNING');
  agent.output(id, 1, 'stdout', 0, 'half of ');
  await agent.next('outputAck', ({ stdoutBytes }) => stdoutBytes === 8);
  await bed.scheduler.close();
  const folder = join(stateDir, 'scheduler');
  for (const name of readdirSync(folder)) if (lost(name)) rmSync(join(folder, name), { recursive: true });
  const again = await startBed(stateDir);
  open.push(again);
  const order = orders.get(id);
  if (order === undefined) throw new Error('the job was never ordered');
  return { bed: again, identity, id, order };
}

const reportOf = (order: StartOrder, result: JobResult | null = null): JobReport => ({
  type: 'jobReport',
  jobId: order.jobId,
  epoch: order.epoch,
  order,
  proof: null,
  phase: result === null ? 'running' : 'ended',
  startedAtMs: 1_700_000_000_000,
  result,
});

const held = (id: string, phase: 'running' | 'ended' = 'running') => [
  { jobId: id, epoch: 1, phase, devices: [] },
];

function comeBack(
  bed: Bed,
  identity: FakeIdentity,
  id: string,
  report: JobReport | null,
): Promise<FakeAgent> {
  return connectFake({ url: bed.url, identity, held: held(id), report: () => report });
}

const isStore = (name: string): boolean => name.startsWith('store.db');

describe('a scheduler that has lost its store', () => {
  it('takes its nodes back by their credentials, and adopts what runs on them, as it was ordered', async () => {
    const { bed, identity, id, order } = await runAndLose(isStore);
    expect((await bed.call('GET', '/v1/nodes')).body).toMatchObject({ nodes: [] });
    const agent = await comeBack(bed, identity, id, reportOf(order));
    const job = await bed.until(id, ({ state }) => state === 'RUNNING');
    expect(job).toMatchObject({
      name: 'precious',
      epoch: 1,
      node: { id: identity.nodeId, name: 'node-a' },
      spec: { command: ['sleep', '60'], retry: { times: 3 } },
      stdoutBytes: 8,
    });
    expect(Date.parse(job.submittedAt)).toBeGreaterThan(Date.now() - 600_000);
    // It knows how much of the output it has, and takes the rest.
    await agent.next('outputAck', ({ jobId, stdoutBytes }) => jobId === id && stdoutBytes === 8);
    agent.output(id, 1, 'stdout', 8, 'the truth');
    agent.ended(id, { stdoutBytes: 17 });
    await bed.until(id, ({ state, stdoutBytes }) => state === 'COMPLETED' && stdoutBytes === 17);
    const output = await bed.call('GET', `/v1/jobs/${id}/output`);
    expect(output.body).toBe('half of the truth');
    expect(agent.messages.filter(({ type }) => type === 'stop' || type === 'start')).toEqual([]);
  });

  it('takes results that were settled meanwhile', async () => {
    const { bed, identity, id, order } = await runAndLose(isStore);
    const result = fakeResult(identity.nodeId, id, { exitCode: 7 });
    const agent = await connectFake({
      url: bed.url,
      identity,
      held: held(id, 'ended'),
      report: () => reportOf(order, result),
    });
    const job = await bed.until(id, ({ state }) => state === 'FAILED');
    expect(job.result).toEqual(result);
    const sequence = agent.resend(result);
    await agent.next('ack', (ack) => ack.sequence === sequence);
  });

  it('finds all of it again after the next restart', async () => {
    const { bed, identity, id, order } = await runAndLose(isStore);
    const agent = await comeBack(bed, identity, id, reportOf(order));
    await bed.until(id, ({ state }) => state === 'RUNNING');
    await bed.scheduler.close();
    const again = await startBed(bed.stateDir);
    open.push(again);
    expect(await again.job(id)).toMatchObject({ state: 'RUNNING', epoch: 1 });
    expect(await again.node(identity.nodeId)).toMatchObject({ name: 'node-a' });
    await agent.disconnect();
  });

  it.each([
    ['an order that was never sealed', (order: StartOrder) => ({ ...order, seal: null })],
    [
      'a seal of another order',
      (order: StartOrder) => ({ ...order, spec: { ...order.spec, command: ['evil'] } }),
    ],
    ['a seal that is none', (order: StartOrder) => ({ ...order, seal: `${order.seal}x` })],
  ])('believes a node about itself alone for %s: no other node will carry it out', async (_name, alter) => {
    const { bed, identity, id, order } = await runAndLose(isStore);
    await comeBack(bed, identity, id, reportOf(alter(order)));
    const job = await bed.until(id, ({ state }) => state === 'RUNNING');
    expect(job.spec.retry.times).toBe(0);
  });

  it('does not adopt what a node holds without knowing its order, nor a result in the name of another', async () => {
    const { bed, identity, id, order } = await runAndLose(isStore);
    const first = await comeBack(bed, identity, id, { ...reportOf(order), order: null });
    await first.next('report');
    await first.disconnect();
    const foreign = fakeResult('node-other', id);
    const second = await comeBack(bed, identity, id, reportOf(order, foreign));
    await second.next('report');
    second.send({ type: 'heartbeat', sequence: 1 });
    await second.next('heartbeat', ({ echo }) => echo === 1);
    expect((await bed.call('GET', `/v1/jobs/${id}`)).status).toBe(404);
  });

  it('turns away a node whose credential another scheduler signed, and one that shows none', async () => {
    const { bed, identity } = await runAndLose(isStore);
    for (const credential of [
      null,
      { ...identity.credential, signature: Buffer.alloc(64).toString('base64') },
    ]) {
      const agent = await connectFake({
        url: bed.url,
        identity,
        alter: (hello) => ({ ...hello, credential }),
      });
      expect((await agent.closed).code).toBe(4404);
    }
    // Somebody else's key under a credential that is not his.
    const thief = await enrolFake(bed.url, bed.scheduler.joinTokenFile, 'thief');
    const agent = await connectFake({
      url: bed.url,
      identity: { ...identity, privateKey: thief.privateKey },
      alter: (hello) => hello,
    });
    expect((await agent.closed).code).toBe(4401);
  });
});

describe('a scheduler that has lost its key as well', () => {
  it('takes a node back when it joins again, under the same id, with what runs on it', async () => {
    const { bed, identity, id, order } = await runAndLose((name) => isStore(name) || name === 'key.pem');
    const refused = await connectFake({ url: bed.url, identity, alter: (hello) => hello });
    expect((await refused.closed).code).toBe(4404);
    const token = (await import('node:fs')).readFileSync(bed.scheduler.joinTokenFile, 'utf8').trim();
    const { status, body } = await bed.call(
      'POST',
      '/v1/enrol',
      { version: 1, token, publicKey: identity.publicKey, name: 'node-a', nodeId: identity.nodeId },
      null,
    );
    expect([status, body]).toMatchObject([200, { nodeId: identity.nodeId }]);
    const { credential } = body as Pick<FakeIdentity, 'credential'>;
    await comeBack(bed, { ...identity, credential }, id, reportOf(order));
    const job = await bed.until(id, ({ state }) => state === 'RUNNING');
    expect(job.spec).toMatchObject({ command: ['sleep', '60'], retry: { times: 0 } });
  });

  it('gives a wished id to nobody when another key has it', async () => {
    const { bed, identity } = await runAndLose(isStore);
    const token = (await import('node:fs')).readFileSync(bed.scheduler.joinTokenFile, 'utf8').trim();
    const first = await enrolFake(bed.url, bed.scheduler.joinTokenFile, 'first');
    const asked = { version: 1, token, publicKey: identity.publicKey, name: 'n', nodeId: first.nodeId };
    const { body } = await bed.call('POST', '/v1/enrol', asked, null);
    expect((body as { nodeId: string }).nodeId).not.toBe(first.nodeId);
  });
});

describe('a node that an operator removes', () => {
  it('loses its jobs, cannot come back by its credential, and is welcome when it joins again', async () => {
    const { bed, identity, id, order } = await runAndLose(() => false);
    const agent = await comeBack(bed, identity, id, reportOf(order));
    const early = await bed.call('POST', `/v1/nodes/${identity.nodeId}/remove`, {});
    expect([early.status, early.body]).toMatchObject([409, { error: { code: 'FLEET_NODE_CONNECTED' } }]);
    await agent.disconnect();
    const removed = async () => (await bed.call('POST', '/v1/nodes/node-a/remove', {})).status;
    for (let tries = 0; (await removed()) === 409 && tries < 1000; tries += 1);
    const job = await bed.until(id, ({ state }) => state !== 'RUNNING');
    expect(job.spec.retry.times).toBe(3);
    expect([job.state, job.reason]).toEqual([
      'PENDING',
      expect.stringContaining('its node node-a was removed by local'),
    ]);
    expect((await bed.call('GET', '/v1/nodes')).body).toMatchObject({ nodes: [] });

    const refused = await connectFake({ url: bed.url, identity, alter: (hello) => hello });
    expect(await refused.closed).toMatchObject({ code: 4410 });
    await bed.scheduler.close();
    const again = await startBed(bed.stateDir);
    open.push(again);
    expect((await again.call('GET', '/v1/nodes')).body).toMatchObject({ nodes: [] });
    const still = await connectFake({ url: again.url, identity, alter: (hello) => hello });
    expect((await still.closed).code).toBe(4410);
    const token = (await import('node:fs')).readFileSync(again.scheduler.joinTokenFile, 'utf8').trim();
    const request = { version: 1, token, publicKey: identity.publicKey, name: 'node-a' };
    expect((await again.call('POST', '/v1/enrol', request, null)).body).toMatchObject({
      nodeId: identity.nodeId,
    });
    // What still runs there was given up, and is stopped.
    const back = await connectFake({ url: again.url, identity, held: held(id) });
    expect(await back.next('stop')).toMatchObject({ jobId: id, epoch: 1, by: 'scheduler' });
    await back.disconnect();
  });
});
