import { describe, expect, it } from 'vitest';
import { createSilentLog } from '../../../src/base/log.ts';
import { type Derivation, type DerivationSource, meanAt, put } from '../../../src/device/derivation.ts';
import type { SlowColumn, SlowDevice } from '../../../src/device/device.ts';
import { absentReasons, type Window } from '../../../src/protocol/columns.ts';
import { createSampler } from '../../../src/telemetry/sampler.ts';
import { createFakeClock, settle } from './fake-clock.ts';
import { createFakeReader } from './fake-reader.ts';

/** Half the busy share of a device, as a column of its own. */
function halfBusy(slot: number): Derivation {
  let at = -1;
  return {
    bind(find) {
      at = find('accelerator.busyRatio', slot);
      return at < 0 ? [] : [{ family: 'accelerator.availableRatio', owner: slot, label: null }];
    },
    write(window, from) {
      if (at >= 0) put(window, from, false, meanAt(window, at) / 2, 'late');
    },
  };
}

function sourceOf(
  first: readonly Derivation[],
): DerivationSource & { change(list: readonly Derivation[]): void } {
  let list = first;
  let revision = 1;
  return {
    revision: () => revision,
    list: () => list,
    change(next) {
      list = next;
      revision += 1;
    },
  };
}

function start(
  derivations: DerivationSource,
  slowDevices: readonly SlowDevice[] = [],
  nativeSlots: readonly number[] = [],
) {
  const clock = createFakeClock();
  const host = { family: 'cpu.load1', label: null, device: null };
  const reader = createFakeReader(
    [host, ...nativeSlots.map((device) => ({ family: 'accelerator.busyRatio', label: null, device }))],
    clock.monotonicMs,
  );
  const seen: Record<string, number | string>[] = [];
  const generations: number[] = [];
  const onWindow = ({ columns, values, reasons, generation }: Window): void => {
    generations.push(generation);
    seen.push(
      Object.fromEntries(
        columns.map(({ family, owner }, at) => [
          `${owner} ${family}`,
          reasons[at] === 0 ? (values[4 * at + 3] ?? Number.NaN) : (absentReasons[reasons[at] ?? 0] ?? '?'),
        ]),
      ),
    );
  };
  createSampler({
    native: reader.native,
    clock,
    procRoot: '/p',
    sysRoot: '/s',
    periodMs: 100,
    windowMs: 1000,
    slowDevices,
    derivations,
    ownerOf: (device) => device,
    onWindow,
    log: createSilentLog(),
  });
  return { clock, reader, seen, generations };
}

describe('derived columns', () => {
  it('are computed from native columns of the same window', () => {
    const { clock, reader, seen } = start(sourceOf([halfBusy(0), halfBusy(1)]), [], [0, 1]);
    reader.values.push(1, 0.8, Number.NaN);
    clock.advance(300);
    expect(seen[0]).toMatchObject({
      '0 accelerator.availableRatio': 0.4,
      '1 accelerator.availableRatio': 'late',
    });
    reader.values[1] = 0.2;
    reader.values[2] = 1;
    clock.advance(1000);
    expect(seen[1]).toMatchObject({
      '0 accelerator.availableRatio': 0.1,
      '1 accelerator.availableRatio': 0.5,
    });
  });

  it('are computed from slow columns, and come with them', async () => {
    const busy = (value: number): SlowColumn => ({
      column: { family: 'accelerator.busyRatio', owner: 3, label: null },
      value,
      reason: 'present',
    });
    const tool: SlowDevice = { name: 'tool', periodMs: 5000, read: async () => [busy(0.6)] };
    const { clock, seen } = start(sourceOf([halfBusy(3)]), [tool]);
    await settle();
    clock.advance(300);
    expect(seen[0]).toMatchObject({ '3 accelerator.busyRatio': 0.6, '3 accelerator.availableRatio': 0.3 });
  });

  it('follow their source and the columns to a new generation, and only then', () => {
    const source = sourceOf([halfBusy(0)]);
    const { clock, reader, seen, generations } = start(source, [], [0]);
    reader.values.push(1, 0.5);
    clock.advance(2300);
    expect(new Set(generations).size).toBe(1);
    source.change([]);
    clock.advance(1000);
    expect(seen.at(-1)).not.toHaveProperty(['0 accelerator.availableRatio']);
    source.change([halfBusy(0), halfBusy(9)]);
    clock.advance(1000);
    expect(seen.at(-1)).toMatchObject({ '0 accelerator.availableRatio': 0.25 });
    expect(Object.keys(seen.at(-1) ?? {})).not.toContain('9 accelerator.availableRatio');
    expect(new Set(generations).size).toBe(3);
  });
});
