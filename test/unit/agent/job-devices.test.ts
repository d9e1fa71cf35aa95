import { describe, expect, test } from 'vitest';
import { createJobDevices } from '../../../src/agent/job-devices.ts';
import { createEnergyMeter, type EnergyMeter } from '../../../src/device/energy.ts';
import { noFlops } from '../../../src/device/peak/peak.ts';
import { absentReasons, type Column, type Window, windowStatistics } from '../../../src/protocol/columns.ts';
import type { DeviceRecord } from '../../../src/protocol/device.ts';
import { deviceRecord } from '../../fakes/device.ts';
import { createFakeClock } from '../telemetry/fake-clock.ts';

const recordOf = (slot: number, more: Partial<DeviceRecord> = {}): DeviceRecord =>
  deviceRecord(slot, {
    vendor: 'some',
    id: `card-${slot}`,
    name: 'card',
    memoryTotalBytes: null,
    peakFlops: { ...noFlops, fp16: 100e12 },
    peakMethod: 'table',
    peakSource: '',
    achievedMethod: 'gpm',
    energyMethod: 'counter',
    ...more,
  });

/** Devices whose power and rate the test sets; a second at a time. */
function bench(records: readonly DeviceRecord[]) {
  const clock = createFakeClock();
  const meters = records.map(() => createEnergyMeter(null));
  const meterOf = ({ slot }: DeviceRecord): EnergyMeter => meters[slot] ?? createEnergyMeter(null);
  const devices = createJobDevices(clock, meterOf);
  devices.update(records);
  const columns = records.map(
    ({ slot }): Column => ({ family: 'accelerator.achievedFlops', owner: slot, label: null }),
  );
  const window: Window = {
    generation: 1,
    columns,
    sequence: 1,
    endMs: 0,
    durationMs: 1000,
    ticks: 10,
    values: new Float64Array(columns.length * windowStatistics),
    reasons: new Uint8Array(columns.length),
  };
  let lastMs = clock.monotonicMs();
  return {
    clock,
    devices,
    /** `watts` and `rates` by device; NaN cannot be read. */
    second(watts: readonly number[], rates: readonly number[] = watts.map(() => 1e12)): void {
      clock.advance(1000);
      const put = (at: number, value: number): void => {
        window.values.fill(value, at * windowStatistics, (at + 1) * windowStatistics);
        window.reasons[at] = absentReasons.indexOf(Number.isNaN(value) ? 'late' : 'present');
      };
      records.forEach((_, at) => {
        meters[at]?.observe(clock.monotonicMs() - lastMs, Number.NaN, watts[at] ?? Number.NaN, false);
        put(at, rates[at] ?? Number.NaN);
      });
      devices.window(window);
      lastMs = clock.monotonicMs();
    },
  };
}

describe('what the devices of a job used and did', () => {
  test('is the sum over its devices from its start to its end', () => {
    const { clock, devices, second } = bench([recordOf(0), recordOf(1), recordOf(2)]);
    second([100, 100, 100]);
    second([100, 100, 100]);
    devices.granted('a.1', ['card-0', 'card-2']);
    clock.advance(500);
    devices.started('a.1');
    for (let at = 0; at < 9; at += 1) second([300, 500, 200], [2e12, 9e12, 3e12]);
    const answer = devices.settle('a.1');
    // 9 windows; the first is 1.5 s long, of which the job ran for the last second.
    expect(answer?.joules).toBeCloseTo(500 * 9, 6);
    expect(answer?.flop).toBeCloseTo(5e12 * 9, -3);
    expect([answer?.flopMethod, answer?.method]).toEqual(['gpm', 'sum of its devices']);
    expect(devices.settle('a.1')).toBeNull();
  });

  test('counts a job that comes and goes between two windows by the power of the last one', () => {
    const { clock, devices, second } = bench([recordOf(0)]);
    second([400]);
    second([400]);
    devices.granted('a.1', ['card-0']);
    devices.started('a.1');
    clock.advance(250);
    expect(devices.settle('a.1')).toMatchObject({ joules: 100, flop: 0.25e12 });
  });

  test('of a shared device is divided equally, and says so', () => {
    const { devices, second } = bench([recordOf(0)]);
    second([100]);
    second([100]);
    for (const key of ['a.1', 'b.1']) {
      devices.granted(key, ['card-0']);
      devices.started(key);
    }
    for (let at = 0; at < 10; at += 1) second([300]);
    const [one, other] = [devices.settle('a.1'), devices.settle('b.1')];
    expect(one).toMatchObject({
      joules: 1500,
      flop: 5e12,
      method: 'sum of its devices, shared ones divided equally',
    });
    expect(other?.joules).toBe(1500);
  });

  test('of a partition is its share of the device by peak', () => {
    const part = recordOf(1, { parentSlot: 0, id: 'part-1', peakFlops: { ...noFlops, fp16: 25e12 } });
    const { devices, second } = bench([recordOf(0), part]);
    second([100, 0]);
    devices.granted('a.1', ['part-1']);
    devices.started('a.1');
    for (let at = 0; at < 10; at += 1) second([400, 0]);
    expect(devices.settle('a.1')).toMatchObject({
      joules: 1000,
      method: 'sum of its devices, partitions by their share of the peak',
    });
  });

  test('is unknown, with the reason, where it was not told for long', () => {
    const { devices, second } = bench([recordOf(0)]);
    second([100]);
    devices.granted('a.1', ['card-0']);
    devices.started('a.1');
    for (let at = 0; at < 5; at += 1) second([100], [1e12]);
    for (let at = 0; at < 5; at += 1) second([100], [Number.NaN]);
    const answer = devices.settle('a.1');
    expect([answer?.joules, answer?.flop, answer?.flopMethod]).toEqual([1000, null, null]);
    expect(answer?.absent.flop).toMatch(/achieved rate of its devices was told for 50 %/);
  });

  test('is not taken for nothing while its energy is not told', () => {
    const { devices, second } = bench([recordOf(0)]);
    second([100]);
    second([100]);
    devices.granted('a.1', ['card-0']);
    devices.started('a.1');
    for (let at = 0; at < 10; at += 1) second([at < 4 || at === 9 ? 100 : Number.NaN]);
    const answer = devices.settle('a.1');
    expect(answer?.joules).toBeNull();
    expect(answer?.absent.joules).toMatch(/energy of its devices was told for 50 %/);
  });

  test('is nothing for a job without devices, and of one that never ran unknown', () => {
    const { clock, devices } = bench([recordOf(0)]);
    devices.granted('a.1', []);
    expect(devices.settle('a.1')).toBeNull();
    devices.granted('b.1', ['card-0']);
    expect(devices.settle('b.1')?.absent.joules).toBe('the job never ran');
    devices.granted('c.1', ['gone']);
    devices.started('c.1');
    clock.advance(1000);
    expect(devices.settle('c.1')).toMatchObject({ joules: null, flop: null });
  });
});
