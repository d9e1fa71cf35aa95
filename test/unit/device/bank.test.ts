import { describe, expect, it } from 'vitest';
import { createSilentLog } from '../../../src/base/log.ts';
import type { Vendor } from '../../../src/device/accelerator.ts';
import { createBank } from '../../../src/device/bank.ts';
import { createLadder } from '../../../src/device/health.ts';
import { noFlops } from '../../../src/device/peak/peak.ts';
import type { Native, NativeDevice, NativeDevices, NativeEvent } from '../../../src/native.ts';
import type { Window } from '../../../src/protocol/columns.ts';
import type { DeviceRecord } from '../../../src/protocol/device.ts';
import { createFakeClock } from '../telemetry/fake-clock.ts';

const RETEST_MS = 60_000;

/** A vendor whose signals are their own findings, for what the bank does with any vendor. */
const acme: Vendor = {
  name: 'acme',
  title: 'Acme',
  level: 'captures',
  tools: [],
  query: async () => [],
  grant: (devices) => ({
    environment: { ACME_VISIBLE: devices.map(({ id }) => id).join(',') },
    deviceNodes: devices.map(({ nodeNumber }) => `/dev/acme${nodeNumber}`),
  }),
  hidden: { ACME_VISIBLE: 'none' },
  judgeEvent: ({ code }) =>
    code === 48 ? { code: 'acme-48', rung: 'stopJobs', text: 'Memory is broken' } : null,
  judgeSignals: ({ remap }) =>
    remap === 1 ? [{ code: 'acme-remap', rung: 'warn', text: 'Rows wait to be remapped' }] : [],
};
const other: Vendor = { ...acme, name: 'other', title: 'Other', hidden: { OTHER_VISIBLE: '' } };

function device(number: number, more: Partial<NativeDevice> = {}): NativeDevice {
  return {
    number,
    vendor: 'acme',
    index: number,
    id: `ACME-${number}`,
    parent: null,
    profile: null,
    name: 'Acme One',
    busId: `00000000:0${number}:00.0`,
    serial: null,
    firmwareVersion: null,
    numaNode: null,
    nodeNumber: number,
    computeCapability: null,
    lanes: null,
    units: null,
    maxClockHertz: null,
    hasPipes: false,
    processes: [],
    processesAbsent: null,
    links: [],
    signals: {},
    codes: [],
    absent: null,
    problem: null,
    ...more,
  };
}

function bed(vendors: readonly Vendor[] = [acme]) {
  const clock = createFakeClock();
  const said = {
    vendor: { name: 'acme', state: 'open', problem: null, driverVersion: '1.2', library: 'libacme.so' },
    devices: [device(0), device(1)],
    events: [],
  } as {
    vendor: NativeDevices['vendors'][number];
    devices: NativeDevice[];
    events: NativeEvent[];
  };
  const native = {
    readDevices: () => JSON.stringify({ revision: 1, vendors: [said.vendor], devices: said.devices }),
    takeDeviceEvents: () => JSON.stringify(said.events.splice(0)),
  } as unknown as Native;
  const told: (readonly DeviceRecord[])[] = [];
  const failed: [string, string][] = [];
  const bank = createBank({
    native,
    vendors,
    simulated: null,
    backend: 'native',
    ladder: createLadder({ clock, retestMs: RETEST_MS, bootId: 'boot', saved: null }),
    rate: () => ({
      peakFlops: noFlops,
      peakMethod: null,
      peakSource: 'none',
      achievedMethod: null,
      energyMethod: null,
    }),
    held: () => new Set(),
    toolPeriodMs: 5000,
    scriptFolder: '/nowhere',
    environment: {},
    clock,
    log: createSilentLog(),
    onChange: (records) => told.push(records),
    onFailed: (id, fault) => failed.push([id, fault.code]),
  });
  const record = (id: string): DeviceRecord | undefined => bank.records().find((each) => each.id === id);
  const pass = (ms: number): void => {
    clock.advance(ms);
    bank.window(emptyWindow);
  };
  return { clock, said, bank, told, failed, record, pass };
}

const emptyWindow: Window = {
  generation: 1,
  columns: [],
  sequence: 1,
  endMs: 0,
  durationMs: 1000,
  ticks: 10,
  values: new Float64Array(0),
  reasons: new Uint8Array(0),
};

describe('the bank', () => {
  it('tells records when they change, and only then', () => {
    const { bank, told, said, record } = bed();
    bank.refresh();
    bank.refresh();
    expect(told).toHaveLength(1);
    expect(record('ACME-0')).toMatchObject({
      slot: 0,
      vendor: 'acme',
      driverVersion: '1.2',
      backend: 'native',
      health: 'ok',
      absent: {},
    });
    expect(bank.backends()).toEqual({ acme: 'native' });
    said.devices = [device(0), device(1, { processes: [{ pid: 7, memoryBytes: 1, name: 'job' }] })];
    bank.refresh();
    expect(told).toHaveLength(2);
  });

  it('tells of noise alone only now and then', () => {
    const { bank, told, said, pass, record } = bed();
    const withUse = (memoryBytes: number) => {
      said.devices = [device(0, { processes: [{ pid: 7, memoryBytes, name: null }] })];
      bank.refresh();
    };
    withUse(1);
    withUse(2);
    withUse(3);
    expect(told).toHaveLength(1);
    pass(10_000);
    expect(told).toHaveLength(2);
    expect(told[1]?.[0]?.processes).toEqual([{ pid: 7, memoryBytes: 3, name: null }]);
    expect(record('ACME-0')?.processes).toHaveLength(1);
  });

  it('keeps the slot of a device that comes under another number or index', () => {
    const { bank, said, record } = bed();
    bank.refresh();
    said.devices = [device(4, { id: 'ACME-1', index: 0 }), device(5, { id: 'ACME-9', index: 1 })];
    expect(bank.ownerOf(4)).toBe(1);
    expect(bank.ownerOf(5)).toBe(2);
    expect([0, 1, 2]).not.toContain(bank.ownerOf(77));
    expect(record('ACME-0')).toMatchObject({ slot: 0, rung: 'resetNeeded', absent: { numbers: 'lost' } });
  });

  it('takes a lost device for failed until it is back and re-tested', () => {
    const { bank, said, record, pass, failed } = bed();
    bank.refresh();
    said.devices = [device(0), device(1, { absent: 'lost', problem: 'GPU is lost' })];
    bank.refresh();
    expect(record('ACME-1')).toMatchObject({
      health: 'failed',
      faults: [{ code: 'device-lost' }],
      problem: 'GPU is lost',
    });
    expect(record('ACME-0')).toMatchObject({ health: 'ok' });
    expect(failed).toEqual([['ACME-1', 'device-lost']]);
    said.devices = [device(0), device(1)];
    bank.refresh();
    expect(record('ACME-1')).toMatchObject({ health: 'failed', faults: [{ active: false }] });
    pass(RETEST_MS);
    expect(record('ACME-1')).toMatchObject({ health: 'ok', faults: [] });
  });

  it('blames the driver, not the devices, when it goes, and waits for it', () => {
    const { bank, said, record, pass, failed } = bed();
    bank.refresh();
    said.vendor = { ...said.vendor, state: 'failed', problem: 'driver not loaded' };
    bank.refresh();
    for (const id of ['ACME-0', 'ACME-1'])
      expect(record(id)).toMatchObject({
        health: 'degraded',
        rung: 'noNewJobs',
        faults: [{ code: 'driver-lost' }],
        absent: { numbers: 'lost' },
      });
    expect(bank.problems()).toEqual(['Acme: driver not loaded']);
    expect(failed).toEqual([]);
    said.vendor = { ...said.vendor, state: 'open', problem: null };
    bank.refresh();
    pass(RETEST_MS);
    expect(record('ACME-0')?.health).toBe('ok');
    expect(bank.problems()).toEqual([]);
  });

  it('judges events, by number or by bus, and ends jobs once', () => {
    const { bank, said, record, failed, pass } = bed();
    bank.refresh();
    const event = { kind: 'xid', code: 48, count: 5, detail: null } as const;
    said.events = [
      { ...event, number: 0, busId: null },
      { ...event, number: null, busId: '0000:01:00' },
      { ...event, code: 1, number: 0, busId: null },
      { ...event, number: 66, busId: null },
    ];
    bank.refresh();
    said.events = [{ ...event, number: 0, busId: null }];
    bank.refresh();
    expect(record('ACME-0')).toMatchObject({ health: 'failed', rung: 'stopJobs' });
    expect(failed).toEqual([
      ['ACME-0', 'acme-48'],
      ['ACME-1', 'acme-48'],
    ]);
    pass(RETEST_MS);
    expect(record('ACME-0')).toMatchObject({ health: 'ok' });
  });

  it('lets a partition share the fate of its device, and forgets one that is taken apart', () => {
    const { bank, said, record, failed } = bed();
    const slice = device(2, { id: 'ACME-0/1', parent: 0, profile: '1g.10gb', index: 0 });
    said.devices = [device(0), slice];
    said.events = [{ kind: 'xid', code: 48, count: 1, detail: null, number: 0, busId: null }];
    bank.refresh();
    expect(record('ACME-0/1')).toMatchObject({ parentSlot: 0, profile: '1g.10gb', rung: 'stopJobs' });
    expect(failed.map(([id]) => id)).toEqual(['ACME-0', 'ACME-0/1']);
    said.devices = [device(0)];
    bank.refresh();
    expect(bank.records().map(({ id }) => id)).toEqual(['ACME-0']);
  });

  it('takes the memory of a device from telemetry', () => {
    const { bank, record } = bed();
    bank.refresh();
    bank.window({
      ...emptyWindow,
      columns: [{ family: 'accelerator.memoryTotalBytes', owner: 1, label: null }],
      values: new Float64Array([8e9, 8e9, 8e9, 8e9]),
      reasons: new Uint8Array([0]),
    });
    expect([record('ACME-0')?.memoryTotalBytes, record('ACME-1')?.memoryTotalBytes]).toEqual([null, 8e9]);
  });

  it('grants a job its own devices, and hides all others of vendors that are here', () => {
    const { bank } = bed([acme, other]);
    bank.refresh();
    expect(bank.grant(['ACME-1', 'ACME-0'])).toEqual({
      environment: { ACME_VISIBLE: 'ACME-0,ACME-1' },
      deviceNodes: ['/dev/acme0', '/dev/acme1'],
    });
    expect(bank.grant([])).toEqual({ environment: { ACME_VISIBLE: 'none' }, deviceNodes: [] });
    expect(() => bank.grant(['ACME-7'])).toThrowError(/no accelerator ACME-7/);
  });

  it('is settled when the library has answered, or the time is over', async () => {
    const { bank, said, clock } = bed();
    said.vendor = { ...said.vendor, state: 'opening' };
    let done = 0;
    const first = bank.settled(1000).then(() => (done += 1));
    for (let step = 0; step < 60; step += 1) {
      clock.advance(20);
      await Promise.resolve();
    }
    await first;
    expect(done).toBe(1);
    said.vendor = { ...said.vendor, state: 'missing' };
    await bank.settled(1000);
    expect(bank.records()).toEqual([]);
  });
});
