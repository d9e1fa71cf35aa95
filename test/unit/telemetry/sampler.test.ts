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

function start(options: { native?: Native | null; slowDevices?: SlowDevice[]; log?: Log } = {}) {
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

describe('the sampler without the addon', () => {
  it('shows every unlabelled family of the host as unsupported, and still the slow columns', async () => {
    const { clock, seen } = start({ native: null, slowDevices: [slowDevice([[freeSpace(4096)]])] });
    await settle();
    clock.advance(1300);
    const [, window] = seen;
    const unlabelled = Object.entries(columnFamilies).filter(([, { label }]) => label === null);
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
