// Jobs whose node goes away, by their disconnect policies: what the scheduler believes, when, and what it does when the
// node is back. Time runs ten times as fast, and the wall clock jumps.
import { afterEach, describe, expect, it } from 'vitest';
import type { Clock } from '../../../src/base/clock.ts';
import type { StartOrder } from '../../../src/protocol/control.ts';
import { connectFake, enrolFake, type FakeAgent, type FakeIdentity } from '../../fakes/agent.ts';
import { createFastClock } from '../../fakes/fast-clock.ts';
import { type Bed, freshFolder, startBed } from './bed.ts';

/** A lease is a second of real time then: a process that gets no CPU for so long is silent indeed. */
const FACTOR = 10;
const WAIT_MS = 40_000;
const beds: Bed[] = [];
const beats: NodeJS.Timeout[] = [];
afterEach(async () => {
  for (const beat of beats.splice(0)) clearInterval(beat);
  for (const bed of beds.splice(0)) await bed.close();
});

const HOUR_MS = 3_600_000;

/** A wall clock that somebody sets back and forth by an hour all the time: leases do not ask it. */
function createTornClock(): Clock {
  const clock = createFastClock(FACTOR);
  let asked = 0;
  return {
    ...clock,
    wallMs() {
      asked += 1;
      return clock.wallMs() + (asked % 2 === 0 ? HOUR_MS : -HOUR_MS);
    },
  };
}

async function open(): Promise<{ bed: Bed; identity: FakeIdentity }> {
  const bed = await startBed(freshFolder(), null, undefined, createTornClock());
  beds.push(bed);
  return { bed, identity: await enrolFake(bed.url, bed.scheduler.joinTokenFile, 'node-a') };
}

/** An agent that accepts and starts what it is ordered, and sends heartbeats until `still` is called. */
async function connect(bed: Bed, identity: FakeIdentity, name: string, held: object[] = []) {
  const orders: StartOrder[] = [];
  const agent = await connectFake({
    url: bed.url,
    identity,
    name,
    held: held as never,
    run(order) {
      orders.push(order);
      return { forMs: 10_000_000 };
    },
  });
  let sequence = 0;
  const beat = setInterval(() => {
    sequence += 1;
    agent.send({ type: 'heartbeat', sequence });
  }, 1000 / FACTOR);
  beats.push(beat);
  return { agent, orders, still: () => clearInterval(beat) };
}

async function until<T>(what: string, look: () => Promise<T | null> | T | null): Promise<T> {
  const endMs = performance.now() + WAIT_MS;
  for (;;) {
    const found = await look();
    if (found !== null) return found;
    if (performance.now() > endMs) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const untilState = (bed: Bed, id: string, state: string) =>
  until(`${id} ${state}`, async () => {
    const job = await bed.job(id);
    return job.state === state ? job : null;
  });

const stop = (afterMs: number, more: object = {}) => ({
  disconnect: { policy: 'stop' as const, afterMs },
  graceMs: 100,
  resources: { cpus: 2 },
  ...more,
});

describe('a heartbeat', () => {
  it('comes back at once with its number, one without a number does not', async () => {
    const { bed, identity } = await open();
    const agent = await connectFake({ url: bed.url, identity });
    agent.send({ type: 'heartbeat' });
    agent.send({ type: 'heartbeat', sequence: 41 });
    await agent.next('heartbeat', ({ echo }) => echo === 41);
    const echoes = agent.messages.flatMap((message) => (message.type === 'heartbeat' ? [message.echo] : []));
    expect(echoes.filter((echo) => echo !== null)).toEqual([41]);
    await agent.disconnect();
  });
});

describe('a job that stops without its scheduler', () => {
  it.each([
    ['whose node is cut off', (agent: FakeAgent) => void agent.socket.terminate()],
    ['whose node falls silent on an open connection', (agent: FakeAgent) => void agent.socket.pause()],
  ])('%s is lost when its lease is over for certain, and what it held is free', async (_name, cut) => {
    const { bed, identity } = await open();
    const { agent, still } = await connect(bed, identity, 'node-a');
    const { id } = await bed.submit(stop(0));
    await untilState(bed, id, 'RUNNING');
    still();
    cut(agent);
    const away = await until('the sentence', async () => {
      const { state, reason } = await bed.job(id);
      return state !== 'RUNNING' || reason.includes('unreachable') ? { state, reason } : null;
    });
    if (away.state === 'RUNNING') {
      expect(away.reason).toContain(
        'by its disconnect policy the job is stopped there at once and counts as lost here after 11 s',
      );
    }
    const job = await untilState(bed, id, 'LOST');
    expect(job.result).toMatchObject({ endKind: 'disconnected', epoch: 1, nodeId: identity.nodeId });
    expect(job.reason).toMatch(
      /^lease lost: node-a has been unreachable for \d+ s; by its disconnect policy \(stop at once\) the job was stopped there$/,
    );

    const second = await connect(
      bed,
      await enrolFake(bed.url, bed.scheduler.joinTokenFile, 'node-b'),
      'node-b',
    );
    const next = await bed.submit(stop(0));
    await untilState(bed, next.id, 'RUNNING');
    expect(second.orders).toHaveLength(1);
    expect((await bed.node(identity.nodeId)).resources?.cpus.held).toBe(0);
  });

  it('is told to stop where it still runs when the node is back, and what it did there counts for nothing', async () => {
    const { bed, identity } = await open();
    const { agent, still } = await connect(bed, identity, 'node-a');
    const { id } = await bed.submit(stop(0, { retry: { times: 1, on: ['disconnected'], delayMs: 0 } }));
    await untilState(bed, id, 'RUNNING');
    still();
    agent.socket.terminate();
    const other = await connect(
      bed,
      await enrolFake(bed.url, bed.scheduler.joinTokenFile, 'node-b'),
      'node-b',
    );
    const again = await until(
      'the next attempt',
      async () => other.orders.find(({ jobId }) => jobId === id) ?? null,
    );
    expect(again.epoch).toBe(2);

    const held = [{ jobId: id, epoch: 1, phase: 'running', devices: [] }];
    const back = await connect(bed, identity, 'node-a', held);
    const order = await back.agent.next('stop');
    expect(order).toMatchObject({
      jobId: id,
      epoch: 1,
      by: 'scheduler',
      reason: 'attempt 2 was ordered since',
    });
    back.agent.send({
      type: 'orderAck',
      orderId: order.orderId,
      outcome: 'accepted',
      code: null,
      message: null,
    });
    // Its end is taken note of, so that the agent lets go of it, and changes nothing.
    const late = back.agent.resend({
      ...back.agent.ended('job-none'),
      jobId: id,
      epoch: 1,
    });
    await back.agent.next('ack', ({ sequence }) => sequence === late);
    const job = await bed.job(id);
    expect(job).toMatchObject({ state: 'RUNNING', epoch: 2, node: { name: 'node-b' }, result: null });
    expect(bed.logged.some(({ message }) => /refused: (stale|contradiction)/.test(message))).toBe(true);
    other.agent.ended(id, { epoch: 2 });
    await untilState(bed, id, 'COMPLETED');
  });

  it('is never lost while its node is heard, however long it runs', async () => {
    const { bed, identity } = await open();
    await connect(bed, identity, 'node-a');
    const { id } = await bed.submit(stop(0));
    await untilState(bed, id, 'RUNNING');
    await new Promise((resolve) => setTimeout(resolve, 30_000 / FACTOR));
    expect((await bed.job(id)).state).toBe('RUNNING');
  });
});

describe('a job that goes on without its scheduler', () => {
  it('is waited for, its sentence says so, and its result is taken when the node is back', async () => {
    const { bed, identity } = await open();
    const { agent, still } = await connect(bed, identity, 'node-a');
    const { id } = await bed.submit({ resources: { cpus: 2 } });
    await untilState(bed, id, 'RUNNING');
    still();
    await agent.disconnect();
    await new Promise((resolve) => setTimeout(resolve, 30_000 / FACTOR));
    const job = await bed.job(id);
    expect(job.state).toBe('RUNNING');
    expect(job.reason).toMatch(
      /^runs on node-a; the node has been unreachable for \d+ s, the job goes on there$/,
    );
    const held = [{ jobId: id, epoch: 1, phase: 'ended', devices: [] }];
    const back = await connect(bed, identity, 'node-a', held);
    back.agent.ended(id, { exitCode: 3 });
    expect((await untilState(bed, id, 'FAILED')).result).toMatchObject({ exitCode: 3 });
  });
});
