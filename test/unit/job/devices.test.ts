// Devices in the job room: what is granted, what is refused, who holds what after a restart, what a fault ends.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Fault } from '../../../src/base/fault.ts';
import { decideAdmission, type NodeState } from '../../../src/job/admission.ts';
import type { JobDevices } from '../../../src/job/device-admission.ts';
import { parseJournal } from '../../../src/job/journal-format.ts';
import { heldJobSchema, type StartOrder } from '../../../src/protocol/control.ts';
import type { DeviceRecord } from '../../../src/protocol/device.ts';
import { deviceRecord, faultyRecord, partitionRecord } from '../../fakes/device.ts';
import { settleDown } from './fake-clock.ts';
import { processEnd, startOrder, stopOrder } from './samples.ts';
import { createRoom, openRoom, type Room } from './scripted.ts';

const asks = (request: object | null, cpus = 0.01) => ({
  resources: { cpus, accelerators: request === null ? null : { count: 1, ...request } },
});
const order = (jobId: string, devices: readonly string[], request: object = {}, epoch = 1): StartOrder => ({
  ...startOrder(jobId, epoch, asks(devices.length === 0 ? null : { count: devices.length, ...request })),
  devices: [...devices],
});
const records: readonly DeviceRecord[] = [
  deviceRecord(0),
  deviceRecord(1),
  deviceRecord(2),
  partitionRecord(10, 2),
  partitionRecord(11, 2),
];

/** A host with these devices, whose vendor shows a job its own by one variable. */
function host(present: readonly DeviceRecord[] = records): JobDevices & { now: readonly DeviceRecord[] } {
  const devices = {
    now: present,
    records: () => devices.now,
    grant(ids: readonly string[]) {
      if (!ids.every((id) => devices.now.some((one) => one.id === id)))
        throw new Fault('DEVICE_UNKNOWN', 'it has gone');
      const nodes = ids.map((id) => `/dev/fake-${id}`);
      return { environment: { CUDA_VISIBLE_DEVICES: ids.join(','), OTHER_VISIBLE: '' }, deviceNodes: nodes };
    },
  };
  return devices;
}
const open = (room: Room, devices: JobDevices = host()) => openRoom(room, { devices });

describe('admission of devices', () => {
  const idle: NodeState = {
    executors: new Map([['process', null]]),
    cpuHundredths: 200,
    memoryBytes: 1000,
    heldCpuHundredths: 0,
    heldMemoryBytes: 0,
    devices: { records, held: [], unknownHolder: null, nowMs: 1000 },
    held: 0,
    walls: null,
    data: null,
    draining: null,
    diskProblem: null,
  };
  const cordon = { by: 'alice', reason: 'fan', sinceMs: 0, untilMs: 2000 };
  const held = (ids: readonly string[], shared = false) => ({ held: [{ name: 'job-x.1', ids, shared }] });
  test.each<[string, StartOrder, Partial<NonNullable<NodeState['devices']>>, string | null]>([
    ['devices that are here', order('job-1', ['GPU-0', 'GPU-1']), {}, null],
    ['a partition', order('job-1', ['MIG-10'], { partition: '1g.10gb' }), {}, null],
    ['a device that is not here', order('job-1', ['GPU-9']), {}, 'JOB_DEVICE_UNKNOWN'],
    ['fewer than were asked for', order('job-1', ['GPU-0'], { count: 2 }), {}, 'JOB_DEVICES_MISMATCH'],
    ['one twice', order('job-1', ['GPU-0', 'GPU-0']), {}, 'JOB_DEVICES_MISMATCH'],
    ['a partition in place of a device', order('job-1', ['MIG-10']), {}, 'JOB_DEVICES_MISMATCH'],
    [
      'a device in place of a partition',
      order('job-1', ['GPU-0'], { partition: 'any' }),
      {},
      'JOB_DEVICES_MISMATCH',
    ],
    [
      'devices for a job that asked for none',
      { ...startOrder('job-1'), devices: ['GPU-0'] },
      {},
      'JOB_DEVICES_MISMATCH',
    ],
    ['a device of another job', order('job-1', ['GPU-0']), held(['GPU-0']), 'JOB_DEVICE_BUSY'],
    [
      'one that the other alone would share',
      order('job-1', ['GPU-0']),
      held(['GPU-0'], true),
      'JOB_DEVICE_BUSY',
    ],
    [
      'one that it alone would share',
      order('job-1', ['GPU-0'], { shared: true }),
      held(['GPU-0']),
      'JOB_DEVICE_BUSY',
    ],
    ['one that both share', order('job-1', ['GPU-0'], { shared: true }), held(['GPU-0'], true), null],
    ['a device whose partition is held', order('job-1', ['GPU-2']), held(['MIG-11']), 'JOB_DEVICE_BUSY'],
    [
      'a partition whose device is held',
      order('job-1', ['MIG-10'], { partition: 'any' }),
      held(['GPU-2']),
      'JOB_DEVICE_BUSY',
    ],
    [
      'a partition whose sibling is held',
      order('job-1', ['MIG-10'], { partition: 'any' }),
      held(['MIG-11']),
      null,
    ],
    [
      'any, while a job holds nobody knows what',
      order('job-1', ['GPU-0']),
      { unknownHolder: 'job-x.1' },
      'JOB_DEVICE_BUSY',
    ],
    [
      'a cordoned one',
      order('job-1', ['GPU-0']),
      { records: [deviceRecord(0, { cordon })] },
      'JOB_DEVICE_CORDONED',
    ],
    [
      'one whose cordon is over',
      order('job-1', ['GPU-0']),
      { records: [deviceRecord(0, { cordon })], nowMs: 2000 },
      null,
    ],
    [
      'an ill one',
      order('job-1', ['GPU-0']),
      { records: [faultyRecord(deviceRecord(0), 'noNewJobs')] },
      'JOB_DEVICE_UNHEALTHY',
    ],
    [
      'one to be watched',
      order('job-1', ['GPU-0']),
      { records: [faultyRecord(deviceRecord(0), 'warn')] },
      null,
    ],
    [
      'a partition of an ill one',
      order('job-1', ['MIG-10'], { partition: 'any' }),
      { records: [faultyRecord(deviceRecord(2), 'replace'), partitionRecord(10, 2)] },
      'JOB_DEVICE_UNHEALTHY',
    ],
  ])('%s', (_, asked, change, code) => {
    const devices = { ...idle.devices, ...change } as NonNullable<NodeState['devices']>;
    expect(decideAdmission(asked, { ...idle, devices })?.code ?? null).toBe(code);
  });
});

describe('what a job is given', () => {
  test('its devices by variables that nothing in its own environment can replace, and their nodes', async () => {
    const { jobs, run } = await open(createRoom());
    const mine = { CUDA_VISIBLE_DEVICES: '0,1,2', OTHER_VISIBLE: 'all', MINE: 'yes' };
    const asked = order('job-1', ['GPU-0', 'GPU-1']);
    await jobs.start({ ...asked, spec: { ...asked.spec, environment: mine } });
    expect(run('job-1.1').request).toMatchObject({
      environment: {
        CUDA_VISIBLE_DEVICES: 'GPU-0,GPU-1',
        OTHER_VISIBLE: '',
        MINE: 'yes',
        FLOPD_DEVICES: 'GPU-0,GPU-1',
      },
      deviceNodes: ['/dev/fake-GPU-0', '/dev/fake-GPU-1'],
    });
    expect([...jobs.heldDevices()]).toEqual(['GPU-0', 'GPU-1']);
  });

  test('nothing, when it asked for nothing: all are hidden, whatever its environment says', async () => {
    const room = createRoom();
    const { jobs, run } = await open(room);
    const asked = startOrder('job-1', 1, { environment: { CUDA_VISIBLE_DEVICES: '0' } });
    await jobs.start(asked);
    const { request } = run('job-1.1');
    expect(request).toMatchObject({ environment: { CUDA_VISIBLE_DEVICES: '' }, deviceNodes: [] });
    expect('environment' in request && 'FLOPD_DEVICES' in request.environment).toBe(false);
    run('job-1.1').events.ended(processEnd());
    await settleDown();
    expect(room.results[0]?.limits.devices).toBe('environment');
  });

  test('one that goes between the look and the grant is refused, and the job may come again', async () => {
    const devices = host();
    const { jobs } = await open(createRoom(), { ...devices, records: () => [...records, deviceRecord(7)] });
    expect(await jobs.start(order('job-1', ['GPU-7']))).toMatchObject({ code: 'JOB_DEVICE_UNKNOWN' });
    expect(await jobs.start(order('job-1', ['GPU-0'], {}, 2))).toMatchObject({ outcome: 'accepted' });
  });

  test('without devices on the host the journal is as it was before there were any', async () => {
    const room = createRoom();
    const { jobs } = await openRoom(room);
    await jobs.start(startOrder('job-1'));
    await jobs.stop(stopOrder('job-1'));
    const [accepted, stop] = parseJournal(room.disk.bytes).records as Record<string, unknown>[];
    expect(Object.keys(accepted ?? {})).toEqual(['kind', 'order', 'bootId']);
    expect(Object.keys(stop ?? {})).toEqual(['kind', 'jobId', 'epoch', 'by', 'reason']);
  });
});

describe('after a restart', () => {
  test('devices stay with the jobs that run, and a job that never began gets what it was granted', async () => {
    const room = createRoom();
    const first = await open(room);
    await first.jobs.start(order('job-1', ['GPU-0']));
    await first.jobs.close();
    // The devices are not read yet.
    const devices = host([]);
    const second = await open(room, devices);
    expect(second.run('job-1.1').request).toMatchObject({
      start: { environment: { CUDA_VISIBLE_DEVICES: 'GPU-0' }, deviceNodes: ['/dev/fake-GPU-0'] },
    });
    expect(second.jobs.held()).toEqual([{ jobId: 'job-1', epoch: 1, phase: 'accepted', devices: ['GPU-0'] }]);
    expect(await second.jobs.start(order('job-2', ['GPU-0']))).toMatchObject({ code: 'JOB_DEVICE_UNKNOWN' });
    devices.now = records;
    expect(await second.jobs.start(order('job-2', ['GPU-0'], {}, 2))).toMatchObject({
      code: 'JOB_DEVICE_BUSY',
    });
    second.run('job-1.1').events.ended(processEnd());
    await settleDown();
    expect(await second.jobs.start(order('job-2', ['GPU-0'], {}, 3))).toMatchObject({ outcome: 'accepted' });
    expect(second.jobs.held()).toContainEqual({ jobId: 'job-1', epoch: 1, phase: 'ended', devices: [] });
  });

  test('no device is given while a job runs whose order was lost with the journal', async () => {
    const room = createRoom();
    const first = await open(room);
    await first.jobs.start(order('job-1', ['GPU-0']));
    await first.jobs.close();
    room.disk.bytes = Buffer.alloc(0);
    // A shim has been at work in the folder.
    writeFileSync(join(room.folder, 'jobs', 'job-1.1', 'spec'), 'x');
    const second = await open(room);
    expect(second.jobs.held()).toEqual([{ jobId: 'job-1', epoch: 1, phase: 'accepted', devices: null }]);
    expect(second.jobs.held().every((one) => heldJobSchema.safeParse(one).success)).toBe(true);
    expect(await second.jobs.start(order('job-2', ['GPU-1']))).toMatchObject({ code: 'JOB_DEVICE_BUSY' });
    expect(await second.jobs.start(startOrder('job-3', 1, asks(null)))).toMatchObject({
      outcome: 'accepted',
    });
    second.run('job-1.1').events.ended(processEnd());
    await settleDown();
    expect(await second.jobs.start(order('job-2', ['GPU-1'], {}, 2))).toMatchObject({ outcome: 'accepted' });
  });
});

describe('a device that fails', () => {
  const fault = { code: 'xid-79', text: 'it has fallen off the bus' };
  const killed = processEnd({ kind: 'signalled', exitCode: null, signal: 15, stopped: 'stop' });

  test('ends the jobs on it with their grace, as FAILED with its cause, and no others', async () => {
    const room = createRoom();
    const { jobs, run } = await open(room);
    await jobs.start(order('job-1', ['GPU-0', 'GPU-1']));
    await jobs.start(order('job-2', ['MIG-10'], { partition: 'any' }));
    await jobs.start(order('job-3', ['MIG-11'], { partition: 'any' }));
    jobs.deviceFailed(['GPU-1', 'MIG-10'], fault);
    jobs.deviceFailed(['GPU-1'], { code: 'xid-48', text: 'later' });
    await settleDown();
    expect([run('job-1.1').stops, run('job-2.1').stops, run('job-3.1').stops]).toEqual([
      [10_000],
      [10_000],
      [],
    ]);
    run('job-1.1').events.ended(killed);
    await settleDown();
    expect(room.results).toMatchObject([
      {
        state: 'FAILED',
        endKind: 'deviceFault',
        stoppedBy: 'node',
        signal: 15,
        cause:
          'stopped because its device failed: device GPU-1: it has fallen off the bus (xid-79) (SIGTERM)',
      },
    ]);
    jobs.deviceFailed(['GPU-2'], fault);
    await settleDown();
    expect(run('job-3.1').stops).toEqual([10_000]);
  });

  test('is remembered over a crash between the fault and the end of the job', async () => {
    const room = createRoom();
    const first = await open(room);
    await first.jobs.start(order('job-1', ['GPU-0']));
    first.jobs.deviceFailed(['GPU-0'], fault);
    await settleDown();
    await first.jobs.close();
    const second = await open(room, host([]));
    expect(second.run('job-1.1').stops).toEqual([10_000]);
    // Not started any more, should it never have begun.
    expect(second.run('job-1.1').request).toMatchObject({ start: null });
    second.run('job-1.1').events.ended(killed);
    await settleDown();
    expect(room.results).toMatchObject([{ state: 'FAILED', endKind: 'deviceFault' }]);
  });

  test.each([
    [
      'its own crash at the same moment is told with the fault',
      { exitCode: 134 },
      'FAILED',
      'deviceFault',
      null,
    ],
    ['work that was done all the same stays done', { exitCode: 0 }, 'COMPLETED', 'exited', null],
    [
      'a job that never began',
      { kind: 'failedToStart' as const, failedStep: 'claim', exitCode: null },
      'FAILED_TO_START',
      'deviceFault',
      'node',
    ],
    ['a job that is lost is lost', { kind: 'lost' as const, exitCode: null }, 'LOST', 'lost', null],
  ])('%s', async (_, end, state, endKind, stoppedBy) => {
    const room = createRoom();
    const { jobs, run } = await open(room);
    await jobs.start(order('job-1', ['GPU-0']));
    jobs.deviceFailed(['GPU-0'], fault);
    run('job-1.1').events.ended(processEnd(end));
    await settleDown();
    expect(room.results).toMatchObject([{ state, endKind, stoppedBy }]);
    if (endKind === 'deviceFault') expect(room.results[0]?.cause).toContain('(xid-79)');
  });

  test('does not take the word of somebody who cancelled first', async () => {
    const room = createRoom();
    const { jobs, run } = await open(room);
    await jobs.start(order('job-1', ['GPU-0']));
    await jobs.stop(stopOrder('job-1'));
    jobs.deviceFailed(['GPU-0'], fault);
    run('job-1.1').events.ended(killed);
    await settleDown();
    expect(room.results).toMatchObject([{ state: 'CANCELLED', stoppedBy: 'alice' }]);
  });

  test('reaches a job whose intent is still on its way to the disk', async () => {
    const room = createRoom();
    const { jobs, runs } = await open(room);
    const answer = jobs.start(order('job-1', ['GPU-0']));
    jobs.deviceFailed(['GPU-0'], fault);
    expect(await answer).toMatchObject({ outcome: 'accepted' });
    await settleDown();
    expect(runs).toEqual([]);
    expect(room.results).toMatchObject([{ state: 'FAILED_TO_START', endKind: 'deviceFault' }]);
  });
});

test('whatever is ordered, ended and restarted, the node gives no device twice', async () => {
  const step = fc.oneof(
    {
      weight: 5,
      arbitrary: fc.record({
        kind: fc.constant('start' as const),
        ids: fc.uniqueArray(fc.constantFrom(...records.map(({ id }) => id)), { minLength: 1, maxLength: 2 }),
        shared: fc.boolean(),
      }),
    },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('end' as const), pick: fc.nat() }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('restart' as const) }) },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
      const room = createRoom();
      let life = await open(room);
      const running: { name: string; ids: readonly string[]; shared: boolean }[] = [];
      for (const [n, one] of steps.entries()) {
        if (one.kind === 'start') {
          const partition = one.ids.every((id) => id.startsWith('MIG')) ? 'any' : null;
          const { outcome } = await life.jobs.start(
            order(`job-${n}`, one.ids, { partition, shared: one.shared }),
          );
          if (outcome === 'accepted') running.push({ name: `job-${n}.1`, ids: one.ids, shared: one.shared });
        } else if (one.kind === 'end' && running.length > 0) {
          const [ended] = running.splice(one.pick % running.length, 1);
          life.run(ended?.name ?? '').events.ended(processEnd());
          await settleDown();
        } else if (one.kind === 'restart') {
          await life.jobs.close();
          life = await open(room);
        }
        for (const a of running)
          for (const b of running) {
            if (a === b) continue;
            if (a.ids.some((id) => b.ids.includes(id))) expect(a.shared && b.shared).toBe(true);
            expect(a.ids.includes('GPU-2') && b.ids.some((id) => id.startsWith('MIG'))).toBe(false);
          }
        expect(life.jobs.heldDevices()).toEqual(new Set(running.flatMap(({ ids }) => ids)));
      }
      await life.jobs.close();
    }),
    { seed: 3, numRuns: 60 },
  );
}, 30_000);
