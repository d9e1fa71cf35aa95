// Nodes that take no orders, or not from everybody: what the scheduler gives them, what it says of them, and of the jobs that
// wait for them.
import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { connectFake, type FakeAgent, type FakeAgentOptions } from '../../fakes/agent.ts';
import { fakeHost, joinAs } from '../../fakes/host.ts';
import { type Bed, startBed } from './bed.ts';

let bed: Bed;
let agents: FakeAgent[];
beforeEach(async () => {
  bed = await startBed();
  agents = [];
});
afterEach(async () => {
  for (const agent of agents) await agent.disconnect();
  await bed.close();
});

async function come(name: string, change: Partial<FakeAgentOptions> = {}): Promise<FakeAgent> {
  const token = readFileSync(bed.scheduler.joinTokenFile, 'utf8').trim();
  const identity = await joinAs(bed.url, token, fakeHost());
  const agent = await connectFake({ url: bed.url, identity, name, version: 2, ...change });
  agents.push(agent);
  await expect.poll(async () => (await bed.node(agent.nodeId)).state, { timeout: 20_000 }).toBe('ready');
  return agent;
}

const starts = (agent: FakeAgent): number =>
  agent.messages.filter(({ type }) => type === 'signedStart').length;

function refuse(agent: FakeAgent, orderId: string): void {
  const message = "the submitter's key is not one of those that may submit to this node; have it added";
  agent.send({ type: 'orderAck', orderId, outcome: 'refused', code: 'ORDER_SUBMITTER', message });
}

describe('a node that takes no orders', () => {
  it('says so when that begins; jobs wait with the reason until it ends', async () => {
    const agent = await come('host-a');
    agent.send({ type: 'heartbeat', sequence: null, refusing: 'no durable space: the disk is full' });
    // The echo of the next one says that this one was taken.
    agent.send({ type: 'heartbeat', sequence: 1 });
    await agent.next('heartbeat', ({ echo }) => echo === 1);
    expect(await bed.node(agent.nodeId)).toMatchObject({
      state: 'ready',
      takesJobs: false,
      reason: 'connected; takes no orders: no durable space: the disk is full',
    });
    const { id } = await bed.submit();
    expect((await bed.job(id)).reason).toBe(
      'waiting: host-a could take it, but takes no orders at present: no durable space: the disk is full',
    );
    expect(starts(agent)).toBe(0);
    agent.send({ type: 'heartbeat', sequence: null, refusing: null });
    await agent.next('signedStart', ({ jobId }) => jobId === id);
    expect(await bed.node(agent.nodeId)).toMatchObject({
      takesJobs: true,
      reason: 'connected and takes jobs',
    });
  });

  it('says so in its hello too, and the job goes to another', async () => {
    const identity = await joinAs(
      bed.url,
      readFileSync(bed.scheduler.joinTokenFile, 'utf8').trim(),
      fakeHost(),
    );
    const agent = await connectFake({
      url: bed.url,
      identity,
      name: 'host-a',
      version: 2,
      alter: (hello) => ({ ...hello, refusing: 'safe mode: it crashed too often' }),
    });
    agents.push(agent);
    await agent.next('welcome');
    await expect
      .poll(async () => (await bed.node(agent.nodeId)).reason, { timeout: 20_000 })
      .toBe('connected; takes no orders: safe mode: it crashed too often');
    const { id } = await bed.submit();
    const other = await come('host-b');
    await other.next('signedStart', ({ jobId }) => jobId === id);
    expect(starts(agent)).toBe(0);
  });
});

describe('a node that takes no jobs of this submitter', () => {
  it('is asked once, goes on taking those of others, and the job runs elsewhere', async () => {
    // The smaller one fits better and is asked first.
    const choosy = await come('host-a', { cpus: 1 });
    const { id } = await bed.submit();
    const { orderId } = await choosy.next('signedStart', ({ jobId }) => jobId === id);
    const open = await come('host-b', { cpus: 4 });
    refuse(choosy, orderId);
    await open.next('signedStart', ({ jobId, epoch }) => jobId === id && epoch === 2);
    expect(await bed.node(choosy.nodeId)).toMatchObject({ takesJobs: true });
    // A second one of theirs is not even offered.
    const next = await bed.submit();
    await open.next('signedStart', ({ jobId }) => jobId === next.id);
    expect(starts(choosy)).toBe(1);
  });

  it('leaves the job waiting with what it said where there is no other, and is asked again in a while', async () => {
    const choosy = await come('host-a');
    const { id } = await bed.submit();
    const { orderId } = await choosy.next('signedStart', ({ jobId }) => jobId === id);
    refuse(choosy, orderId);
    const { reason, state } = await bed.until(id, (job) => job.reason.includes('submitter'));
    expect(state).toBe('PENDING');
    expect(reason).toMatch(
      /^waiting: host-a could take it, but not from its submitter: the submitter's key is not one of those that may submit to this node; have it added/,
    );
    // Its key was added meanwhile.
    await choosy.next('signedStart', ({ jobId, epoch }) => jobId === id && epoch === 2);
    expect(starts(choosy)).toBe(2);
  });
});
