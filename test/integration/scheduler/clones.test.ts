// Two agents with the key of one node, in every order in which they may come: one is refused, the node is marked, and no
// order goes to both.
import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { connectFake, type FakeAgent, type FakeIdentity, fakeResult } from '../../fakes/agent.ts';
import { fakeHost, joinAs } from '../../fakes/host.ts';
import { type Bed, startBed } from './bed.ts';

const CLONED = 4411;

let bed: Bed;
let identity: FakeIdentity;
beforeEach(async () => {
  bed = await startBed();
  identity = await joinAs(bed.url, readFileSync(bed.scheduler.joinTokenFile, 'utf8').trim(), fakeHost());
});
afterEach(() => bed.close());

interface Start {
  readonly generation: number;
  readonly instance: string;
  readonly bootId?: string;
}

const begin = (start: Start, to = bed): Promise<FakeAgent> =>
  connectFake({ url: to.url, identity, version: 2, ...start });

/** Comes, and must be refused as a clone. */
async function refused(start: Start, to = bed): Promise<string> {
  const agent = await connectFake({ url: to.url, identity, version: 2, ...start, alter: (hello) => hello });
  const { code } = await agent.closed;
  const told = await agent.next('error');
  expect(code, told.message).toBe(CLONED);
  return told.message;
}

const trust = () => bed.call('POST', `/v1/nodes/${identity.nodeId}/trust`, {});

const first: Start = { generation: 3, instance: 'instance-a' };
const restarted: Start = { generation: 4, instance: 'instance-b' };

describe('a node', () => {
  it('whose agent connects again, is started again, or comes up after a reboot is no clone', async () => {
    for (const start of [
      first,
      first,
      restarted,
      { generation: 5, instance: 'instance-c', bootId: 'boot-2' },
    ]) {
      const agent = await begin(start);
      await agent.disconnect();
    }
    // A connection of the same run that this side does not know to be dead yet.
    const run = { generation: 5, instance: 'instance-c', bootId: 'boot-2' };
    const hanging = await begin(run);
    const again = await begin(run);
    expect((await hanging.closed).code).toBe(4409);
    expect(await bed.node(identity.nodeId)).toMatchObject({ state: 'ready', cloned: null, takesJobs: true });
    await again.disconnect();
  });

  it.each([
    ['a later start of a copy', restarted, 'while the first still answers'],
    ['a start of a copy that counts the same', { generation: 3, instance: 'instance-b' }, 'two agents'],
    ['an earlier copy', { generation: 2, instance: 'instance-b' }, 'number 2 after number 3'],
  ])('that is connected keeps its session when %s comes, and takes no new jobs', async (_, copy, why) => {
    const agent = await begin(first);
    expect(await refused(copy)).toContain(why);
    expect(await bed.node(identity.nodeId)).toMatchObject({
      state: 'ready',
      takesJobs: false,
      cloned: { reason: expect.stringContaining(why) },
      reason: expect.stringContaining('flopd node trust'),
    });
    const { id } = await bed.submit();
    expect((await bed.job(id)).reason).toContain('more than one agent has its key');
    // The run that was there may connect again; no other may, as long as nobody has said which one is left.
    await agent.disconnect();
    expect(await refused({ generation: 9, instance: 'instance-z' })).toContain(why);
    const back = await begin(first);
    expect((await trust()).body).toMatchObject({ cloned: null, takesJobs: true });
    await back.next('signedStart', ({ jobId }) => jobId === id);
    expect(bed.logged.filter(({ level }) => level === 'error')).toHaveLength(1);
    await back.disconnect();
  });

  it.each([
    ['a snapshot that was restored', { generation: 2, instance: 'instance-b' }],
    ['a start from the same state', { generation: 3, instance: 'instance-b' }],
  ])('that is away is marked when %s comes, until somebody says that it is the one', async (_, copy) => {
    await (await begin(first)).disconnect();
    await refused(copy);
    expect(await bed.node(identity.nodeId)).toMatchObject({ state: 'unreachable', takesJobs: false });
    // Also for a scheduler that is started again.
    const after = await startBed(bed.crashImage());
    await refused(copy, after);
    await after.close();
    expect((await trust()).status).toBe(200);
    const agent = await begin(copy);
    expect(await bed.node(identity.nodeId)).toMatchObject({ state: 'ready', cloned: null });
    // It answers, and any other is the copy.
    await refused({ generation: 7, instance: 'instance-y' });
    await agent.disconnect();
  });

  it('of a copy that came while the first did not answer goes to the copy; the first is refused and nothing runs twice', async () => {
    const agent = await begin(first);
    const { id } = await bed.submit();
    await agent.next('signedStart', ({ jobId }) => jobId === id);
    agent.started(id);
    await bed.until(id, ({ state }) => state === 'RUNNING');
    // As good as stopped: nothing of it is read or answered any more.
    agent.socket.pause();
    const copy = await begin(restarted);
    await bed.until(id, ({ state }) => state === 'LOST');
    agent.socket.resume();
    expect((await agent.closed).code).toBe(4409);
    expect(await refused(first)).toContain('number 3 after number 4');
    expect(await bed.node(identity.nodeId)).toMatchObject({ takesJobs: false });
    expect(copy.messages.some(({ type }) => type === 'signedStart')).toBe(false);
    await copy.disconnect();
  });

  it('gets an order that another run of its agent has left unanswered under a new epoch, and the old one counts for nothing', async () => {
    const agent = await begin(first);
    const { id } = await bed.submit();
    await agent.next('signedStart', ({ jobId }) => jobId === id);
    // The same run is sent the same order.
    await agent.disconnect();
    const again = await begin(first);
    await again.next('signedStart', ({ jobId, epoch }) => jobId === id && epoch === 1);
    await again.disconnect();

    const copy = await begin(restarted);
    const { orderId } = await copy.next('signedStop', ({ jobId, epoch }) => jobId === id && epoch === 1);
    expect((await bed.job(id)).state).toBe('STARTING');
    const refusal = { outcome: 'refused', code: 'JOB_UNKNOWN', message: 'this node does not know the job' };
    copy.send({ type: 'orderAck', orderId, ...refusal });
    await copy.next('signedStart', ({ jobId, epoch }) => jobId === id && epoch === 2);
    expect(copy.messages.filter(({ type }) => type === 'signedStart')).toHaveLength(1);
    copy.started(id, 2);
    await bed.until(id, ({ state }) => state === 'RUNNING');
    await copy.disconnect();
    await expect
      .poll(async () => (await bed.node(identity.nodeId)).state, { timeout: 20_000 })
      .toBe('unreachable');

    // An admin finds the first, which went on and started what it had been sent.
    await trust();
    const held = [{ jobId: id, epoch: 1, phase: 'running' as const }];
    const back = await connectFake({ url: bed.url, identity, version: 2, ...first, held });
    await back.next('signedStop', ({ jobId, epoch }) => jobId === id && epoch === 1);
    const sequence = back.started(id, 1);
    await back.next('ack', (ack) => ack.sequence === sequence);
    const late = back.resend(fakeResult(identity.nodeId, id, { epoch: 1, exitCode: 7 }));
    await back.next('ack', (ack) => ack.sequence === late);
    expect(await bed.job(id)).toMatchObject({ epoch: 2, state: 'LOST' });
    await back.disconnect();
  });

  it('that held such an order after all, and was stopped for it, runs the job again', async () => {
    await (await begin(first)).disconnect();
    const agent = await begin(first);
    const { id } = await bed.submit();
    await agent.next('signedStart', ({ jobId }) => jobId === id);
    await agent.disconnect();
    const copy = await begin(restarted);
    const { orderId } = await copy.next('signedStop', ({ jobId, epoch }) => jobId === id && epoch === 1);
    copy.send({ type: 'orderAck', orderId, outcome: 'accepted', code: null, message: null });
    copy.started(id, 1);
    copy.ended(id, {
      epoch: 1,
      state: 'CANCELLED',
      endKind: 'stopped',
      exitCode: null,
      signal: 15,
      stoppedBy: 'scheduler',
    });
    await copy.next('signedStart', ({ jobId, epoch }) => jobId === id && epoch === 2);
    expect((await bed.job(id)).state).toBe('STARTING');
    await copy.disconnect();
  });

  it('has one session of all that come at the same instant', async () => {
    const starts = Array.from({ length: 6 }, (_, at) => ({ generation: 3, instance: `instance-${at}` }));
    const agents = await Promise.all(
      starts.map((start) =>
        connectFake({ url: bed.url, identity, version: 2, ...start, alter: (hello) => hello }),
      ),
    );
    const ends = await Promise.all(
      agents.map((agent) =>
        Promise.race([agent.closed.then(({ code }) => code), agent.next('welcome').then(() => 0)]),
      ),
    );
    expect(ends.filter((code) => code === 0)).toHaveLength(1);
    expect(ends.filter((code) => code === CLONED)).toHaveLength(5);
    for (const agent of agents) agent.socket.terminate();
  });
});
