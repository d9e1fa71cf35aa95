// Devices from the agent's word to the job's record and back, over real sockets and a real store.
import { afterEach, describe, expect, it } from 'vitest';
import type { NodeView } from '../../../src/protocol/api.ts';
import type { HeldJob } from '../../../src/protocol/control.ts';
import type { DeviceRecord } from '../../../src/protocol/device.ts';
import {
  connectFake,
  enrolFake,
  type FakeAgent,
  type FakeAgentOptions,
  type FakeIdentity,
} from '../../fakes/agent.ts';
import { ascendRecord, deviceRecord, faultyRecord, partitionRecord } from '../../fakes/device.ts';
import { type Bed, startBed } from './bed.ts';

const mixed: readonly DeviceRecord[] = [
  deviceRecord(0),
  deviceRecord(1),
  partitionRecord(10, 1),
  partitionRecord(11, 1),
  ascendRecord(2),
  ascendRecord(3),
];
const accelerators = (request: object) => ({ resources: { accelerators: { count: 1, ...request } } });

describe('devices', () => {
  const beds: Bed[] = [];
  const agents: FakeAgent[] = [];
  afterEach(async () => {
    for (const agent of agents.splice(0)) agent.socket.terminate();
    for (const bed of beds.splice(0)) await bed.close();
  });
  async function begin(stateDir?: string): Promise<Bed> {
    const bed = await startBed(stateDir);
    beds.push(bed);
    return bed;
  }
  async function connect(
    bed: Bed,
    identity: FakeIdentity,
    options: Partial<FakeAgentOptions> = {},
  ): Promise<FakeAgent> {
    const agent = await connectFake({ url: bed.url, identity, cpus: 8, devices: mixed, ...options });
    agents.push(agent);
    return agent;
  }
  const enrol = (bed: Bed, name?: string) => enrolFake(bed.url, bed.scheduler.joinTokenFile, name);
  const post = async (bed: Bed, path: string, body: object) => {
    const { status, body: answer } = await bed.call('POST', path, body);
    return {
      status,
      node: answer as NodeView,
      error: (answer as { error?: { code: string; remedy: string } }).error,
    };
  };
  const heldBy = async (bed: Bed, id: string): Promise<readonly string[] | undefined> => {
    const all = (await bed.node('node-a')).devices.flatMap((one) => [one, ...one.partitions]);
    return all.find((one) => one.id === id)?.heldBy;
  };

  it('go to a job by id, stand in its record, are shown as held, and are freed by its result', async () => {
    const bed = await begin();
    const agent = await connect(bed, await enrol(bed));
    const { id } = await bed.submit(accelerators({ count: 2, match: 'ascend:910B3' }));
    expect(await agent.next('start')).toMatchObject({ jobId: id, devices: ['NPU-2', 'NPU-3'] });
    expect((await bed.job(id)).devices).toEqual(['NPU-2', 'NPU-3']);
    expect(await heldBy(bed, 'NPU-3')).toEqual([id]);
    const second = await bed.submit(accelerators({ match: 'ascend' }));
    expect(second).toMatchObject({ state: 'PENDING', devices: [] });
    expect(second.reason).toContain(`0 of 2 accelerators of node-a are free, 2 are held by ${id}`);
    agent.ended(id);
    expect(await agent.next('start', (one) => one.jobId === second.id)).toMatchObject({ devices: ['NPU-2'] });
    // The record tells what it had.
    expect(await bed.job(id)).toMatchObject({ state: 'COMPLETED', devices: ['NPU-2', 'NPU-3'] });
    expect(await heldBy(bed, 'NPU-3')).toEqual([]);
  });

  it('that come, go or fall ill change what is given at once', async () => {
    const bed = await begin();
    const agent = await connect(bed, await enrol(bed), { devices: [] });
    const { id } = await bed.submit(accelerators({ match: 'nvidia' }));
    expect((await bed.job(id)).reason).toContain('no node has accelerators');
    agent.send({ type: 'devices', devices: [faultyRecord(deviceRecord(0), 'noNewJobs'), deviceRecord(1)] });
    expect(await agent.next('start')).toMatchObject({ devices: ['GPU-1'] });
    const node = await bed.node('node-a');
    expect(node.devices.map((one) => [one.id, one.rung, one.takesJobs, one.heldBy])).toEqual([
      ['GPU-0', 'noNewJobs', false, []],
      ['GPU-1', 'ok', true, [id]],
    ]);
    expect(node.devices[0]?.faults).toMatchObject([{ code: 'xid-79' }]);
    agent.send({ type: 'devices', devices: [] });
    await expect.poll(async () => (await bed.node('node-a')).devices).toEqual([]);
    agent.send({ type: 'devices', devices: [deviceRecord(1)] });
    await expect.poll(() => heldBy(bed, 'GPU-1')).toEqual([id]);
  });

  it('that a job lost to a device fault are free again, and the cause is told', async () => {
    const bed = await begin();
    const agent = await connect(bed, await enrol(bed), { devices: [deviceRecord(0)] });
    const { id } = await bed.submit(accelerators({}));
    await agent.next('start');
    agent.started(id);
    agent.send({ type: 'devices', devices: [faultyRecord(deviceRecord(0), 'resetNeeded')] });
    const cause =
      'stopped because its device failed: device GPU-0: it has fallen off the bus (xid-79) (SIGTERM)';
    agent.ended(id, {
      state: 'FAILED',
      endKind: 'deviceFault',
      exitCode: null,
      signal: 15,
      stoppedBy: 'node',
      cause,
    });
    expect(await bed.until(id, (job) => job.state === 'FAILED')).toMatchObject({ reason: cause });
    const next = await bed.submit(accelerators({}));
    expect(next.reason).toContain('1 is faulty (xid-79)');
    agent.send({ type: 'devices', devices: [deviceRecord(0)] });
    await agent.next('start', (one) => one.jobId === next.id);
  });

  it('that the node refuses wait there, without the job being given up', async () => {
    const bed = await begin();
    const agent = await connect(bed, await enrol(bed), { devices: [deviceRecord(0)] });
    const { id } = await bed.submit(accelerators({}));
    const { orderId } = await agent.next('start');
    agent.send({ type: 'orderAck', orderId, outcome: 'refused', code: 'JOB_DEVICE_BUSY', message: 'held' });
    expect(await bed.until(id, (job) => job.state === 'PENDING')).toMatchObject({ devices: [], epoch: 1 });
    expect(await agent.next('start', (one) => one.epoch === 2)).toMatchObject({ devices: ['GPU-0'] });
  });

  it('stay with their jobs through a crash of the scheduler and the return of the node', async () => {
    const bed = await begin();
    const identity = await enrol(bed);
    const agent = await connect(bed, identity);
    const running = await bed.submit(accelerators({ match: 'ascend' }));
    const slice = await bed.submit(accelerators({ partition: '1g.10gb' }));
    const unsent = await bed.submit(accelerators({ match: 'nvidia' }));
    const orders = await Promise.all(
      [running, slice, unsent].map(({ id }) => agent.next('start', (one) => one.jobId === id)),
    );
    expect(orders.map(({ devices }) => devices)).toEqual([['NPU-2'], ['MIG-10'], ['GPU-0']]);
    agent.started(running.id);
    agent.started(slice.id);
    await bed.until(slice.id, (job) => job.state === 'RUNNING');

    const survivor = await begin(bed.crashImage());
    expect((await survivor.job(running.id)).devices).toEqual(['NPU-2']);
    const whole = await survivor.submit(accelerators({ count: 2, match: 'nvidia' }));
    const other = await survivor.submit(accelerators({ match: 'ascend' }));
    const held: HeldJob[] = [
      { jobId: running.id, epoch: 1, phase: 'running', devices: ['NPU-2'] },
      { jobId: slice.id, epoch: 1, phase: 'running', devices: ['MIG-10'] },
    ];
    const back = await connect(survivor, identity, { held });
    expect(await back.next('start', (one) => one.jobId === unsent.id)).toMatchObject({
      epoch: 1,
      devices: ['GPU-0'],
    });
    expect(await back.next('start', (one) => one.jobId === other.id)).toMatchObject({ devices: ['NPU-3'] });
    expect((await survivor.job(whole.id)).state).toBe('PENDING');
    back.ended(slice.id);
    back.ended(unsent.id);
    expect(await back.next('start', (one) => one.jobId === whole.id)).toMatchObject({
      devices: ['GPU-0', 'GPU-1'],
    });
  });

  it('are believed to be where the node says that they are, also for jobs that nobody knows here', async () => {
    const bed = await begin();
    const identity = await enrol(bed);
    const agent = await connect(bed, identity, {
      devices: [deviceRecord(0), deviceRecord(1), deviceRecord(2)],
    });
    const { id } = await bed.submit(accelerators({}));
    await agent.next('start');
    agent.started(id);
    await bed.until(id, (job) => job.state === 'RUNNING');
    await agent.disconnect();
    const back = await connect(bed, identity, {
      devices: [deviceRecord(0), deviceRecord(1), deviceRecord(2)],
      held: [
        { jobId: id, epoch: 1, phase: 'running', devices: ['GPU-1'] },
        { jobId: 'job-stranger', epoch: 4, phase: 'running', devices: ['GPU-0'] },
      ],
    });
    await expect.poll(async () => (await bed.job(id)).devices).toEqual(['GPU-1']);
    expect(await heldBy(bed, 'GPU-0')).toEqual(['job-stranger.4']);
    const two = await bed.submit(accelerators({ count: 2 }));
    const one = await bed.submit(accelerators({}));
    expect([two.state, one.state]).toEqual(['PENDING', 'PENDING']);
    back.ended('job-stranger', { epoch: 4 });
    expect(await back.next('start', (order) => order.jobId === two.id)).toMatchObject({
      devices: ['GPU-0', 'GPU-2'],
    });
  });

  it('of a node whose agent cannot tell what a job holds stay with that job', async () => {
    const bed = await begin();
    const identity = await enrol(bed);
    const agent = await connect(bed, identity);
    const { id } = await bed.submit(accelerators({ match: 'ascend' }));
    await agent.next('start');
    agent.started(id);
    await agent.disconnect();
    await connect(bed, identity, { held: [{ jobId: id, epoch: 1, phase: 'running', devices: null }] });
    expect(await heldBy(bed, 'NPU-2')).toEqual([id]);
  });

  it('are drained and resumed by id or by vendor and index, also over a restart', async () => {
    const bed = await begin();
    const identity = await enrol(bed);
    await connect(bed, identity);
    const drained = await post(bed, '/v1/nodes/node-a/drain', { device: 'ascend:2', reason: 'fan is loud' });
    expect(drained.status).toBe(200);
    expect(drained.node.devices.find(({ id }) => id === 'NPU-2')).toMatchObject({
      takesJobs: false,
      cordon: { by: 'local', reason: 'fan is loud', untilMs: null },
    });
    const survivor = await begin(bed.crashImage());
    const agent = await connect(survivor, identity);
    const { id } = await survivor.submit(accelerators({ count: 2, match: 'ascend' }));
    expect((await survivor.job(id)).reason).toMatch(
      /1 of 2 accelerators of node-a take no jobs: 1 is cordoned \(local: fan is loud\); bring it back with "flopd resume node-a\/NPU-2"/,
    );
    expect((await post(survivor, '/v1/nodes/node-a/resume', { device: 'NPU-2' })).status).toBe(200);
    expect(await agent.next('start')).toMatchObject({ devices: ['NPU-2', 'NPU-3'] });
    expect(await post(survivor, '/v1/nodes/node-a/drain', { device: 'ascend:7', reason: 'x' })).toMatchObject(
      {
        status: 404,
        error: {
          code: 'API_NOT_FOUND',
          remedy: expect.stringContaining('nvidia:0, nvidia:1, ascend:2 and ascend:3'),
        },
      },
    );
    expect((await post(survivor, '/v1/nodes/node-a/drain', { device: 'ascend:2', reason: '' })).status).toBe(
      400,
    );
  });

  it('of a drained node take no jobs until the time is over; what runs there goes on', async () => {
    const bed = await begin();
    const agent = await connect(bed, await enrol(bed));
    const running = await bed.submit(accelerators({ match: 'ascend' }));
    await agent.next('start');
    const { node } = await post(bed, '/v1/nodes/node-a/drain', { reason: 'new driver', forMs: 2000 });
    expect(node).toMatchObject({
      takesJobs: false,
      state: 'ready',
      cordon: { reason: 'new driver' },
      jobs: [running.id],
    });
    expect(node.reason).toMatch(
      /^connected; takes no new jobs; drained by local: new driver, until \d{4}-\S+Z$/,
    );
    const plain = await bed.submit();
    expect(plain.reason).toMatch(
      /^waiting: node-a could take it but is drained \(local: new driver, until \d{4}-\S+Z\); bring it back with "flopd resume node-a"$/,
    );
    await agent.next('start', (one) => one.jobId === plain.id);
    expect(await bed.node('node-a')).toMatchObject({ takesJobs: true, cordon: null });
    agent.ended(running.id);
    await bed.until(running.id, (job) => job.state === 'COMPLETED');
  });

  it('are never given twice, whatever is submitted, ended, cut off and restarted', {
    timeout: 60_000,
  }, async () => {
    let seed = 7;
    const random = (below: number): number => {
      seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
      return seed % below;
    };
    let bed = await begin();
    const identity = await enrol(bed);
    /** What the fake node runs: job → order, as a real agent keeps it through everything. */
    const running = new Map<string, { epoch: number; devices: readonly string[]; shared: boolean }>();
    const seen = new Set<string>();
    let faults: string[] = [];
    const take = (agent: FakeAgent): void => {
      for (const order of agent.messages) {
        if (order.type !== 'start' || seen.has(`${order.jobId}.${order.epoch}`)) continue;
        seen.add(`${order.jobId}.${order.epoch}`);
        const shared = order.spec.resources.accelerators?.shared ?? false;
        for (const [name, other] of running)
          if (other.devices.some((id) => order.devices.includes(id)) && !(shared && other.shared))
            faults = [...faults, `${order.jobId} was given what ${name} holds: ${order.devices.join(' ')}`];
        if (order.devices.length !== order.spec.resources.accelerators?.count)
          faults = [...faults, `${order.jobId} was given ${order.devices.length}`];
        running.set(order.jobId, { epoch: order.epoch, devices: order.devices, shared });
        agent.send({
          type: 'orderAck',
          orderId: order.orderId,
          outcome: 'accepted',
          code: null,
          message: null,
        });
        if (random(2) === 0) agent.started(order.jobId, order.epoch);
      }
    };
    const rejoin = async (): Promise<FakeAgent> => {
      const held = [...running].map(([jobId, { epoch, devices }]) => ({
        jobId,
        epoch,
        phase: 'running' as const,
        devices: [...devices],
      }));
      return connect(bed, identity, { held, cpus: 64 });
    };
    let agent = await rejoin();
    let submitted = 0;
    for (let step = 0; step < 150; step += 1) {
      take(agent);
      const what = random(10);
      if (what < 5) {
        const match = [null, 'nvidia', 'ascend'][random(3)] ?? null;
        const partition = random(4) === 0 ? 'any' : null;
        await bed.submit(
          accelerators({
            count: 1 + random(2),
            match: partition === null ? match : null,
            partition,
            shared: random(3) === 0,
          }),
        );
        submitted += 1;
      } else if (what < 8) {
        const [jobId] = [...running.keys()].slice(random(Math.max(1, running.size)));
        const job = jobId === undefined ? undefined : running.get(jobId);
        if (jobId === undefined || job === undefined) continue;
        running.delete(jobId);
        agent.ended(jobId, { epoch: job.epoch });
        await bed.until(jobId, ({ state }) => state === 'COMPLETED');
      } else if (what === 8) {
        await agent.disconnect();
        take(agent);
        agent = await rejoin();
      } else {
        const image = bed.crashImage();
        await agent.disconnect();
        take(agent);
        bed = await begin(image);
        agent = await rejoin();
      }
    }
    expect(submitted).toBeGreaterThan(40);
    expect(seen.size).toBeGreaterThan(20);
    expect(faults).toEqual([]);
    // In the end everything is served and everything is free.
    const drainAll = async (): Promise<number> => {
      take(agent);
      for (const [jobId, { epoch }] of running) agent.ended(jobId, { epoch });
      running.clear();
      const { body } = await bed.call('GET', '/v1/jobs?limit=1000');
      return (body as { jobs: { state: string }[] }).jobs.filter(({ state }) => state !== 'COMPLETED').length;
    };
    await expect.poll(drainAll).toBe(0);
    const devices = (await bed.node('node-a')).devices.flatMap((one) => [one, ...one.partitions]);
    expect(devices.map((one) => one.heldBy)).toEqual(devices.map(() => []));
    expect(faults).toEqual([]);
  });
});
