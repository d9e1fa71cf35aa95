import { describe, expect, it } from 'vitest';
import { fleetTotals, headlineOf } from '../../../src/protocol/device-totals.ts';
import { deviceViews } from '../../../src/protocol/device-view.ts';
import { totalsOfNodes } from '../../../src/scheduler/fleet-totals.ts';
import { FLEET_MS, sampleFleet, withPartition } from '../../fakes/fleet.ts';
import { sampleNode } from '../../fakes/nodes.ts';

const count = (text: string, options = {}) => {
  const { records, window } = sampleFleet(text, options);
  return fleetTotals(
    deviceViews(records, window, FLEET_MS).map((view) => ({ view, held: view.index === 0, reachable: true })),
  );
};

describe('totals of devices', () => {
  it('are by vendor and model, and of all', () => {
    const { all, models } = count('8xH100,4xAscend910B3');
    expect(models.map(({ vendor, model, devices, held }) => [vendor, model, devices, held])).toEqual([
      ['ascend', '910B3', 4, 1],
      ['nvidia', 'NVIDIA H100 80GB HBM3', 8, 1],
    ]);
    expect(all).toMatchObject({
      vendor: null,
      model: null,
      devices: 12,
      simulated: 12,
      held: 2,
      takesJobs: 12,
    });
    expect(all.peakFlops.bf16).toEqual({ value: 8 * 989.4e12 + 4 * 294.9e12, counted: 12 });
    expect(all.availableFlops.bf16.value).toBeCloseTo(0.9 * (8 * 989.4e12 + 4 * 294.9e12), -6);
    expect(all.peakFlops.fp8).toEqual({ value: 8 * 1978.9e12, counted: 8 });
    expect(headlineOf(all.peakFlops)).toBe('bf16');
  });

  it('say how many devices a sum leaves out, and are null where none tells', () => {
    const { all } = count('3xH100,1xV100', { values: { '1/accelerator.powerWatts': 'lost' } });
    expect(all.powerWatts.counted).toBe(3);
    expect(all.peakFlops.bf16).toEqual({ value: 3 * 989.4e12, counted: 3 });
    const unknown = count('2xV100').all;
    expect(unknown.peakFlops.bf16).toEqual({ value: null, counted: 0 });
    expect(unknown.achievedFlops).toEqual({ value: null, counted: 0 });
    expect(headlineOf(unknown.peakFlops)).toBeNull();
    expect(fleetTotals([]).all.powerWatts).toEqual({ value: null, counted: 0 });
  });

  it('of nodes count devices out of reach, and leave their numbers out of the sums', () => {
    const far = { ...sampleNode('far', sampleFleet('8xH100')), state: 'unreachable' as const };
    const { all } = totalsOfNodes([sampleNode('near', sampleFleet('8xH100')), far]);
    expect(all).toMatchObject({ devices: 16, reachable: 8, health: { ok: 8 } });
    expect(all.powerWatts.counted).toBe(8);
  });

  it('of nodes hold a device of which a job has one slice', () => {
    const fleet = withPartition(sampleFleet('2xH100'), 1, '1g.10gb');
    const node = sampleNode('a', fleet, (id) => (id.startsWith('MIG-') ? ['job-a'] : []));
    expect(totalsOfNodes([node]).all).toMatchObject({ devices: 2, held: 1 });
  });
});
