import { describe, expect, it } from 'vitest';
import { hostView } from '../../../src/protocol/host.ts';
import type { Cell } from './windows.ts';
import { column, makeWindow } from './windows.ts';

type Name = Parameters<typeof column>[0];

function view(cells: Readonly<Partial<Record<Name, Cell>>>) {
  const names = Object.keys(cells) as Name[];
  return hostView(
    makeWindow(
      names.map(column),
      names.map((name) => cells[name] ?? 'error'),
    ),
  );
}

describe('the host view', () => {
  it('shows shares as means over the window and all else as last values', () => {
    const host = view({
      'cpu.busyRatio': [0, 0.25, 1, 0.9],
      'cpu.coreBusyRatio{0}': [0, 0.5, 1, 0.1],
      'cpu.load1': [1, 2, 4, 3],
      'memory.usedBytes': [1024, 2048, 8192, 4096],
      'cpu.secondsTotal{user}': 12.5,
    });
    expect(host.cpu).toMatchObject({
      busyRatio: 0.25,
      coreBusyRatio: { 0: 0.5 },
      load1: 3,
      secondsTotal: { user: 12.5 },
    });
    expect(host.memory.usedBytes).toBe(4096);
    expect(host.sampledAt).toBe(new Date(1_795_000_000_000).toISOString());
  });

  it('groups labelled columns by their label, even by a name that objects have of their own', () => {
    const host = view({
      'disk.readBytesTotal{vda}': 512,
      'disk.busySecondsTotal{vda}': 0.125,
      'network.receiveBytesTotal{__proto__}': 7,
      'storage.freeBytes{/}': 1024,
      'pressure.waitingSecondsTotal{io}': 1.5,
      'sensor.temperatureCelsius{k10temp/Tctl}': 40.5,
    });
    expect(host.disks.vda).toEqual({ readBytesTotal: 512, busySecondsTotal: 0.125 });
    expect(Object.entries(host.network)).toEqual([['__proto__', { receiveBytesTotal: 7 }]]);
    expect(host.storage['/']).toEqual({ freeBytes: 1024 });
    expect(host.pressure.io).toEqual({ waitingSecondsTotal: 1.5 });
    expect(host.sensors['k10temp/Tctl']).toEqual({ temperatureCelsius: 40.5 });
  });

  it('names the reason of every null under its path, and only those', () => {
    const host = view({
      'network.speedBytesPerSecond{eth0}': 'denied',
      'cpu.load1': 'lost',
      'cpu.load5': 0,
      'memory.freeBytes': Number.NaN,
    });
    expect(host.network.eth0).toEqual({ speedBytesPerSecond: null });
    expect(host.absent).toMatchObject({
      'network.eth0.speedBytesPerSecond': 'denied',
      'cpu.load1': 'lost',
      'cpu.load15': 'unsupported',
      'memory.freeBytes': 'error',
      powerWatts: 'unsupported',
      energyJoulesTotal: 'unsupported',
    });
    expect(host.cpu.load5).toBe(0);
    expect(Object.keys(host.absent)).not.toContain('cpu.load5');
    const nulls = (value: unknown, path: string): string[] =>
      value === null
        ? [path]
        : typeof value !== 'object'
          ? []
          : Object.entries(value as object).flatMap(([key, each]) =>
              nulls(each, path === '' ? key : `${path}.${key}`),
            );
    const { absent, ...rest } = host;
    expect(nulls(rest, '').sort()).toEqual(Object.keys(absent).sort());
  });

  it('leaves accelerators out', () => {
    const columns = [{ family: 'power.watts', owner: 0, label: 'rapl:package-0' } as const];
    expect(hostView(makeWindow(columns, [250])).powerWatts).toBeNull();
  });
});

describe('the power of the host', () => {
  const packages = {
    'power.watts{rapl:package-0}': 100,
    'power.watts{rapl:package-0/dram}': 20,
    'power.watts{rapl:package-0/core}': 60,
  } as const;

  it('adds packages and memory, and counts nothing twice that a package contains', () => {
    expect(view({ ...packages, 'power.watts{rapl:package-1}': 50 }).powerWatts).toBe(170);
    expect(
      view({
        'power.energyJoulesTotal{rapl:package-0}': 5,
        'power.energyJoulesTotal{rapl:package-0/uncore}': 2,
      }).energyJoulesTotal,
    ).toBe(5);
  });

  it('is that of the whole machine where something measures it', () => {
    expect(view({ ...packages, 'power.watts{rapl:psys}': 300 }).powerWatts).toBe(300);
    const grace = {
      'power.watts{hwmon:power_meter/Module Power Socket 0}': 500,
      'power.watts{hwmon:power_meter/CPU Power Socket 0}': 200,
    } as const;
    expect(view(grace).powerWatts).toBe(500);
  });

  it('falls back to the parts while the meter of the machine cannot be read', () => {
    expect(view({ ...packages, 'power.watts{rapl:psys}': 'denied' }).powerWatts).toBe(120);
  });

  it('is unknown when one part is, with its reason', () => {
    const host = view({ ...packages, 'power.watts{rapl:package-1}': 'denied' });
    expect(host.powerWatts).toBeNull();
    expect(host.absent.powerWatts).toBe('denied');
  });

  it('does not take the meter of a card for the host', () => {
    expect(view({ 'power.watts{hwmon:amdgpu/PPT}': 90 }).powerWatts).toBeNull();
  });
});
