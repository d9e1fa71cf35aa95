import { describe, expect, it } from 'vitest';
import type { Log } from '../../../src/base/log.ts';
import { createSilentLog } from '../../../src/base/log.ts';
import type { SlowColumn, SlowDevice } from '../../../src/device/device.ts';
import type { Native } from '../../../src/native.ts';
import type { Window } from '../../../src/protocol/columns.ts';
import { absentReasons, columnFamilies } from '../../../src/protocol/columns.ts';
import { createSampler } from '../../../src/telemetry/sampler.ts';
import { createFakeClock, settle } from './fake-clock.ts';
import { createFakeReader } from './fake-reader.ts';

const host = [
  { family: 'cpu.load1', label: null, device: null },
  { family: 'memory.freeBytes', label: null, device: null },
];

const freeSpace = (value: number, mount = '/'): SlowColumn => ({
  column: { family: 'storage.freeBytes', owner: 'host', label: mount },
  value,
  reason: Number.isNaN(value) ? 'denied' : 'present',
});

/** A slow device that answers what `answers` holds at the time. */
function slowDevice(answers: SlowColumn[][]): SlowDevice {
  return { name: 'disks', periodMs: 10_000, read: async () => answers.shift() ?? [] };
}

interface Seen extends Pick<Window, 'generation' | 'sequence' | 'durationMs' | 'ticks'> {
  readonly names: string[];
  readonly last: number[];
  readonly reasons: string[];
}

interface StartOptions {
  native?: Native | null;
  slowDevices?: SlowDevice[];
  log?: Log;
  owners?: Map<number, number>;
  onDevices?: (revision: number) => void;
}

function start(options: StartOptions = {}) {
  const { owners } = options;
  const clock = createFakeClock();
  const reader = createFakeReader(host, clock.monotonicMs);
  const seen: Seen[] = [];
  const windows: Window[] = [];
  const sampler = createSampler({
    native: options.native === undefined ? reader.native : options.native,
    clock,
    procRoot: '/p',
    sysRoot: '/s',
    periodMs: 100,
    windowMs: 1000,
    slowDevices: options.slowDevices ?? [],
    ...(owners === undefined ? {} : { ownerOf: (number: number) => owners.get(number) ?? null }),
    ...(options.onDevices === undefined ? {} : { onDevices: options.onDevices }),
    onWindow(window) {
      windows.push(window);
      const { generation, sequence, durationMs, ticks, columns, values, reasons } = window;
      const names = columns.map(({ family, label }) => (label === null ? family : `${family}{${label}}`));
      const last = columns.map((_, at) => values[4 * at + 3] ?? Number.NaN);
      const words = Array.from(reasons, (reason) => absentReasons[reason] ?? '?');
      seen.push({ generation, sequence, durationMs, ticks, names, last, reasons: words });
    },
    log: options.log ?? createSilentLog(),
  });
  return { clock, reader, sampler, seen, windows };
}

describe('the sampler', () => {
  it('hands on a first window at once and then one per window time', () => {
    const { clock, reader, sampler, seen } = start();
    expect(reader.opened).toEqual([{ procRoot: '/p', sysRoot: '/s', periodMs: 100 }]);
    expect(sampler.latest()).toBeNull();
    expect(sampler.lastWindowMonotonicMs()).toBeNull();
    clock.advance(299);
    expect(seen).toHaveLength(0);
    clock.advance(1);
    expect(seen).toHaveLength(1);
    clock.advance(10_000);
    expect(seen).toHaveLength(11);
    expect(seen.at(-1)).toMatchObject({
      sequence: 11,
      durationMs: 1000,
      ticks: 10,
      names: ['cpu.load1', 'memory.freeBytes'],
    });
    expect(sampler.lastWindowMonotonicMs()).toBe(1000 + 10_300);
    expect(sampler.latest()?.sequence).toBe(11);
    expect(sampler.totals()).toEqual({ windows: 11, busySeconds: expect.closeTo(0.022), lateTicks: 11 });
  });

  it('makes one longer window of a time in which the event loop stood still, never a burst', () => {
    const { clock, seen } = start();
    clock.advance(1300);
    clock.freeze(7250);
    expect(seen).toHaveLength(3);
    expect(seen[2]).toMatchObject({ sequence: 3, durationMs: 7250 });
    clock.advance(999);
    expect(seen).toHaveLength(3);
    clock.advance(1);
    expect(seen).toHaveLength(4);
  });

  it('uses the same memory for every window of a generation', () => {
    const { clock, windows } = start();
    clock.advance(2300);
    expect(windows[2]?.values).toBe(windows[0]?.values);
    expect(windows[2]?.columns).toBe(windows[0]?.columns);
  });

  it('follows the reader to other columns without losing a window', () => {
    const { clock, reader, seen } = start();
    clock.advance(1300);
    reader.setColumns([...host, { family: 'disk.readsTotal', label: 'vdb', device: null }]);
    clock.advance(1000);
    expect(seen).toHaveLength(3);
    expect(seen[2]?.names).toEqual(['cpu.load1', 'memory.freeBytes', 'disk.readsTotal{vdb}']);
    expect(seen[2]?.generation).toBeGreaterThan(seen[1]?.generation ?? 0);
    expect(seen[2]?.sequence).toBe(3);
    expect(reader.taken()).toBe(3);
  });

  it('refuses a reader that announces a family that nobody knows', () => {
    const clock = createFakeClock();
    const { native } = createFakeReader(
      [{ family: 'cpu.mood', label: null, device: null }],
      clock.monotonicMs,
    );
    const options = {
      procRoot: '/p',
      sysRoot: '/s',
      periodMs: 100,
      windowMs: 1000,
      slowDevices: [],
      log: createSilentLog(),
    };
    expect(() => createSampler({ ...options, native, clock, onWindow() {} })).toThrow(/cpu\.mood/);
  });

  it('stops the clock and the reader when closed, once', async () => {
    const { clock, reader, sampler, seen } = start({ slowDevices: [slowDevice([[freeSpace(1)]])] });
    await settle();
    clock.advance(300);
    sampler.close();
    sampler.close();
    clock.advance(60_000);
    expect([seen.length, reader.closed(), clock.waiting()]).toEqual([1, 1, 0]);
  });

  it('tells a change of reason once, not in every window', () => {
    const lines: object[] = [];
    const log: Log = { ...createSilentLog(), info: (fields) => void lines.push(fields) };
    const { clock, reader } = start({ log });
    clock.advance(2300);
    reader.values[1] = Number.NaN;
    clock.advance(3000);
    reader.values[1] = 5;
    clock.advance(3000);
    expect(lines).toEqual([
      { columns: ['memory.freeBytes lost'], more: 0 },
      { columns: ['memory.freeBytes present'], more: 0 },
    ]);
  });
});

describe('the sampler and devices', () => {
  const busy = (device: number) => ({ family: 'accelerator.busyRatio', label: null, device });
  const mixed = [busy(4), ...host, busy(5), { family: 'accelerator.fanRatio', label: null, device: 4 }];
  const owned = (windows: Window[]) =>
    windows.at(-1)?.columns.map(({ family, owner }) => `${owner} ${family}`);

  it('passes the vendors and the log of the kernel on to the reader', () => {
    const clock = createFakeClock();
    const reader = createFakeReader(host, clock.monotonicMs);
    const sampler = createSampler({
      native: reader.native,
      clock,
      procRoot: '/p',
      sysRoot: '/s',
      periodMs: 100,
      windowMs: 1000,
      slowDevices: [],
      vendors: ['acme'],
      kernelLog: '/k',
      onWindow() {},
      log: createSilentLog(),
    });
    const expected = { procRoot: '/p', sysRoot: '/s', periodMs: 100, vendors: ['acme'], kernelLog: '/k' };
    expect(reader.opened).toEqual([expected]);
    sampler.close();
  });

  it('keeps the columns of a device without a slot out, and every value with its column', async () => {
    const owners = new Map([[4, 0]]);
    const { clock, reader, seen, windows } = start({ owners, slowDevices: [slowDevice([[freeSpace(8)]])] });
    await settle();
    reader.setColumns(mixed);
    reader.values.push(0.4, 1, 2, Number.NaN, 0.7);
    clock.advance(1300);
    expect(owned(windows)).toEqual([
      '0 accelerator.busyRatio',
      'host cpu.load1',
      'host memory.freeBytes',
      '0 accelerator.fanRatio',
      'host storage.freeBytes',
    ]);
    expect(seen.at(-1)?.last).toEqual([0.4, 1, 2, 0.7, 8]);
    expect(seen.at(-1)?.reasons).toEqual(Array(5).fill('present'));
    expect(windows.at(-1)?.values).toHaveLength(20);

    const before = seen.at(-1)?.generation ?? 0;
    owners.set(5, 9);
    clock.advance(1000);
    expect(owned(windows)?.[3]).toBe('9 accelerator.busyRatio');
    expect(seen.at(-1)?.last).toEqual([0.4, 1, 2, Number.NaN, 0.7, 8]);
    expect(seen.at(-1)?.reasons[3]).toBe('lost');
    expect(seen.at(-1)?.generation).toBeGreaterThan(before);
    expect(seen.map(({ sequence }) => sequence)).toEqual([1, 2, 3]);
  });

  it('tells of a change before the columns that came with it are asked for, and once', () => {
    const owners = new Map<number, number>();
    const told: number[] = [];
    const onDevices = (revision: number): void => {
      told.push(revision);
      owners.set(4, 0).set(5, 1);
    };
    const { clock, reader, windows } = start({ owners, onDevices });
    clock.advance(1300);
    expect(told).toEqual([]);
    reader.setDeviceRevision(12);
    reader.setColumns(mixed);
    clock.advance(1000);
    expect(told).toEqual([12]);
    expect(owned(windows)).toHaveLength(5);
    clock.advance(5000);
    reader.setDeviceRevision(13);
    clock.advance(2000);
    expect(told).toEqual([12, 13]);
  });
});

describe('the sampler without the addon', () => {
  it('shows every unlabelled family of the host as unsupported, and still the slow columns', async () => {
    const { clock, seen } = start({ native: null, slowDevices: [slowDevice([[freeSpace(4096)]])] });
    await settle();
    clock.advance(1300);
    const [, window] = seen;
    const unlabelled = Object.entries(columnFamilies).filter(
      ([name, { label }]) => label === null && !name.startsWith('accelerator.'),
    );
    expect(window?.names).toEqual([...unlabelled.map(([name]) => name), 'storage.freeBytes{/}']);
    expect(new Set(window?.reasons.slice(0, -1))).toEqual(new Set(['unsupported']));
    expect(window?.last.slice(0, -1).every(Number.isNaN)).toBe(true);
    expect([window?.last.at(-1), window?.reasons.at(-1)]).toEqual([4096, 'present']);
    expect(window).toMatchObject({ sequence: 2, durationMs: 1000, ticks: 0 });
  });
});

describe('slow columns', () => {
  it('stand behind the native ones until the device says something else, then make a new generation', async () => {
    const { clock, seen } = start({
      slowDevices: [slowDevice([[freeSpace(1)], [freeSpace(2)], [freeSpace(3), freeSpace(9, '/srv')]])],
    });
    await settle();
    clock.advance(9300);
    expect(seen.at(-1)).toMatchObject({
      names: ['cpu.load1', 'memory.freeBytes', 'storage.freeBytes{/}'],
      last: [0, 1, 1],
    });
    clock.advance(1000);
    await settle();
    clock.advance(1000);
    expect(seen.at(-1)?.last).toEqual([0, 1, 2]);
    const before = seen.at(-1)?.generation ?? 0;
    clock.advance(9000);
    await settle();
    clock.advance(1000);
    expect(seen.at(-1)?.last).toEqual([0, 1, 3, 9]);
    expect(seen.at(-1)?.generation).toBeGreaterThan(before);
  });

  it('are absent for their own reason, by error when they break their word, and late when the device is silent', async () => {
    const broken = { ...freeSpace(Number.NaN, '/b'), reason: 'present' as const };
    let asked = 0;
    const device: SlowDevice = {
      name: 'hangs',
      periodMs: 10_000,
      read() {
        asked += 1;
        return asked === 1
          ? Promise.resolve([freeSpace(Number.NaN), broken, freeSpace(5, '/c')])
          : new Promise(() => {});
      },
    };
    const { clock, seen } = start({ slowDevices: [device] });
    await settle();
    clock.advance(300);
    expect(seen[0]?.reasons.slice(2)).toEqual(['denied', 'error', 'present']);
    expect(seen[0]?.last.slice(2)).toEqual([Number.NaN, Number.NaN, 5]);
    clock.advance(60_000);
    expect(asked).toBe(2);
    expect(seen.at(-1)?.reasons.slice(2)).toEqual(['late', 'late', 'late']);
    expect(seen.at(-1)?.last[4]).toBeNaN();
  });

  it('do without a device that rejects', async () => {
    const device: SlowDevice = { name: 'bad', periodMs: 10_000, read: () => Promise.reject(new Error('no')) };
    const { clock, seen } = start({ slowDevices: [device, slowDevice([[freeSpace(8)]])] });
    await settle();
    clock.advance(1300);
    expect(seen.at(-1)?.last).toEqual([0, 1, 8]);
  });
});
