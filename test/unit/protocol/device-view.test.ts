import { describe, expect, it } from 'vitest';
import { deviceViews } from '../../../src/protocol/device-view.ts';
import { FLEET_MS, sampleFleet } from '../../fakes/fleet.ts';

describe('the view of a device', () => {
  it('shows no achieved rate before its method has come: they come by different ways', () => {
    const { records, window } = sampleFleet('1xH100');
    const [whole] = deviceViews(records, window, FLEET_MS);
    expect(whole).toMatchObject({ achievedFlops: expect.any(Number), achievedMethod: expect.any(String) });

    const early = records.map((record) => ({ ...record, achievedMethod: null }));
    const [view] = deviceViews(early, window, FLEET_MS);
    expect(view).toMatchObject({ achievedFlops: null, achievedMethod: null });
    expect(view?.absent).toMatchObject({ achievedFlops: 'notYet', achievedMethod: 'notYet' });
  });
});
