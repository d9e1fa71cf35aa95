import { describe, expect, it } from 'vitest';
import { displayWidth } from '../../../src/cli/text.ts';
import { rate, renderFrame } from '../../../src/cli/top-frame.ts';
import type { HostView } from '../../../src/protocol/api.ts';

function view(sampledAt: string, receiveBytesTotal: number | null): HostView {
  return {
    sampledAt,
    cpu: {
      busyRatio: 0.5,
      coreBusyRatio: { '0': 1, '1': null },
      secondsTotal: {},
      load1: 1,
      load5: null,
      load15: 0,
      clockHertz: null,
    },
    memory: {
      totalBytes: 4096,
      usedBytes: 1024,
      availableBytes: 3072,
      freeBytes: 0,
      swapTotalBytes: 0,
      swapFreeBytes: 0,
    },
    disks: {},
    network: { eth0: { receiveBytesTotal, transmitBytesTotal: null } },
    storage: {},
    pressure: {},
    powerWatts: null,
    energyJoulesTotal: null,
    sensors: {},
    absent: { powerWatts: 'unsupported' },
  };
}

const first = view('2026-01-01T00:00:00.000Z', 1000);
const second = view('2026-01-01T00:00:02.000Z', 5096);
const style = { width: 60, colour: false, wide: false };
const frame = (previous: HostView | null, present: HostView, rows: number | null = null) =>
  renderFrame({ hostname: 'a\u001b[2Jb', previous, present, devices: [], style, rows, problem: null });

describe('a frame of top', () => {
  it('shows rates between two views, and what is absent as absent', () => {
    const text = frame(first, second).join('\n');
    expect(text).toMatch(/eth0 +2\.00 KiB\/s +-/);
    expect(text).toContain('no power source: it shows neither RAPL');
    expect(text).toContain('load 1.00 - 0.00');
    expect(text).toMatch(/core 1 +\[\?+\] +-/);
    expect(text).toContain('25%');
    expect(text).not.toContain('\u001b');
  });

  it('has no rates without an earlier view', () => {
    expect(frame(null, second).join('\n')).toMatch(/eth0 +- +-/);
  });

  it('fits the terminal in both directions', () => {
    for (const line of frame(first, second)) expect(displayWidth(line)).toBeLessThanOrEqual(60);
    expect(frame(first, second, 5)).toHaveLength(5);
  });

  it('keeps many cores on few lines', () => {
    const cores = Object.fromEntries(Array.from({ length: 256 }, (_, index) => [String(index), index / 255]));
    expect(frame(first, { ...second, cpu: { ...second.cpu, coreBusyRatio: cores } }).length).toBeLessThan(24);
  });
});

describe('a rate', () => {
  it.each([
    [20, 10, 2, 5],
    [10, 10, 2, 0],
    [5, 10, 2, null],
    [null, 10, 2, null],
    [20, undefined, 2, null],
    [20, 10, 0, null],
    [20, 10, null, null],
  ])('of %s after %s in %s s is %s', (present, previous, seconds, expected) => {
    expect(rate(present, previous, seconds)).toBe(expected);
  });
});
