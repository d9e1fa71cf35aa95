import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isFault } from '../../../src/base/fault.ts';
import { deviceNumbers } from '../../../src/device/accelerator.ts';
import { createSimulated, parseSimulated } from '../../../src/device/simulated.ts';
import { simulatedModels } from '../../../src/device/simulated-model.ts';

const NOW_MS = 1_790_000_000_000;
const clock = { wallMs: () => NOW_MS };
const create = (text: string, seed = '') => createSimulated(parseSimulated(text), clock, seed);

function refusalOf(text: string): string {
  try {
    parseSimulated(text);
  } catch (error) {
    if (isFault(error, 'CONFIG_SIMULATE')) return `${error.message}; ${error.remedy}`;
    throw error;
  }
  return 'no refusal';
}

describe('a simulated fleet', () => {
  it.each([
    [
      '8xH100,8xAscend910B3',
      [
        ['H100', 8],
        ['910B3', 8],
      ],
    ],
    ['h100', [['H100', 1]]],
    [
      ' 2 X a100-40gb , 3×MI300X',
      [
        ['A100-40GB', 2],
        ['MI300X', 3],
      ],
    ],
    ['1*NVIDIA H100 80GB HBM3', [['H100', 1]]],
  ])('%s is read', (text, expected) => {
    expect(parseSimulated(text).map(({ model, count }) => [model.key, count])).toEqual(expected);
  });

  it.each([
    ['8xH10', /no model "H10".*did you mean .*H100/],
    ['4x910B9', /did you mean .*910B/],
    ['8xzzzz', /known models: V100, /],
    ['', /empty group/],
    ['8xH100,', /empty group/],
    ['0xH100', /asks for no device/],
    ['2000xH100', /more than 1024/],
    [`${'1xH100,'.repeat(200)}1xH100`, /longer than/],
    ['8x\u001b[2J', /no model "\?\[2J"/],
  ])('%j is refused', (text, reason) => {
    expect(refusalOf(text)).toMatch(reason);
  });

  it('is never read from text that is no fleet, nor crashes on it', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 60 }), (text) => {
        try {
          for (const { count } of parseSimulated(text)) expect(count).toBeGreaterThan(0);
        } catch (error) {
          expect(isFault(error, 'CONFIG_SIMULATE')).toBe(true);
        }
      }),
    );
  });

  it('knows each model by its key, by vendor and key, and by its name', () => {
    for (const { key, vendor, name } of simulatedModels)
      for (const text of [key, `${vendor} ${key}`, name])
        expect(parseSimulated(text)[0]?.model.key, text).toBe(key);
  });

  it('counts per vendor and gives every device an id and a bus of its own, the same after a restart', () => {
    const fleet = create('2xH100,1xA100,300x910B3', 'host');
    const readings = fleet.read(NOW_MS, new Set());
    expect(fleet.vendors).toEqual(['nvidia', 'ascend']);
    expect(readings.slice(0, 4).map(({ index }) => index)).toEqual([0, 1, 2, 0]);
    expect(new Set(readings.map(({ id }) => id)).size).toBe(303);
    expect(new Set(readings.map(({ busId }) => busId)).size).toBe(303);
    expect(readings[0]?.id).toMatch(/^GPU-sim-[0-9a-f]{8}-0000$/);
    const ids = (seed: string) =>
      create('2xH100', seed)
        .read(NOW_MS, new Set())
        .map(({ id }) => id);
    expect(ids('host')).toEqual(ids('host'));
    expect(ids('host')).not.toEqual(ids('other'));
  });

  it('works while a job holds a device and idles again afterwards, and its energy only grows', () => {
    const fleet = create('2xH100');
    const [held] = fleet.read(NOW_MS, new Set());
    const busyIds = new Set([held?.id ?? '']);
    let before = 0;
    const at = (second: number, ids: ReadonlySet<string>) => {
      const [one, other] = fleet.read(NOW_MS + second * 1000, ids);
      const energy = Number(one?.numbers.values.energyCounterJoules);
      expect(energy).toBeGreaterThanOrEqual(before);
      before = energy;
      return [one, other].map((each) => each?.numbers.values ?? {});
    };
    for (let second = 1; second < 60; second += 1) at(second, busyIds);
    const [busy, idle] = at(60, busyIds);
    expect(busy?.busyRatio).toBeGreaterThan(0.7);
    expect(idle?.busyRatio).toBeLessThan(0.15);
    expect(busy?.powerWatts).toBeGreaterThan(500);
    expect(Number(busy?.temperatureCelsius)).toBeGreaterThan(Number(idle?.temperatureCelsius) + 15);
    for (let second = 61; second < 120; second += 1) at(second, new Set());
    expect(at(120, new Set())[0]?.busyRatio).toBeLessThan(0.15);
  });

  it('has every number of every model within what the model can have, whatever the clock does', () => {
    const fleet = createSimulated(
      simulatedModels.map((model) => ({ count: 1, model })),
      clock,
    );
    for (const nowMs of [NOW_MS, NOW_MS - 1e9, NOW_MS + 1e4, 0, NOW_MS + 1e12]) {
      fleet.read(nowMs, new Set()).forEach(({ numbers: { values } }, at) => {
        const model = simulatedModels[at];
        for (const name of deviceNumbers) expect(Number.isFinite(values[name]), name).toBe(true);
        expect(values.busyRatio).toBeLessThanOrEqual(1);
        expect(values.memoryUsedBytes).toBeLessThanOrEqual(model?.memoryBytes ?? 0);
        expect(values.powerWatts).toBeLessThanOrEqual(model?.powerLimitWatts ?? 0);
      });
    }
  });
});
