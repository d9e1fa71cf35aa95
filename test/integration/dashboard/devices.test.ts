import { describe, expect, it } from 'vitest';
import { FLEET_MS, sampleFault, sampleFleet, withPartition } from '../../fakes/fleet.ts';
import { sampleNode } from '../../fakes/nodes.ts';
import { chromium, openDashboard } from './browser.ts';

const holders = (id: string) => (id.endsWith('0000') ? ['job-abc'] : []);
const big = sampleNode(
  'gpu-01',
  sampleFleet('32xH100,32xAscend910B3', {
    busy: 40,
    records: {
      3: { health: 'failed', rung: 'resetNeeded', faults: [sampleFault()] },
      5: { cordon: { by: 'admin', reason: '換風扇', sinceMs: FLEET_MS, untilMs: null } },
    },
    values: { '7/accelerator.powerWatts': 'denied' },
  }),
  holders,
);
const small = sampleNode('gpu-02', withPartition(sampleFleet('1xA100', { seed: 'b' }), 0, '1g.10gb'));

describe.skipIf(chromium === '')('the dashboard', () => {
  it('shows sixty-four devices, their state and their holders, and marks what is simulated', async () => {
    const { text, dom, complaints } = await openDashboard([big, small]);
    expect(complaints).toBe('');
    expect(dom.match(/<tr data-key="[^"]*\/(?:nvidia|ascend)\//g)).toHaveLength(66);
    expect(dom.match(/<span class="badge">simulated</g)?.length ?? 0).toBeGreaterThan(66);
    expect(text).toContain('xid-79: the device has fallen off the bus');
    expect(text).toContain('job-abc');
    expect(text).toContain('1g.10gb');
    expect(text).toMatch(/denied/);
    expect(text).toContain('1 not well');
    expect(text).toContain('換風扇');
    expect(text).not.toMatch(/NaN|undefined|\[object/);
  });

  it('says who looks, and asks for a token where nothing is shown without one', async () => {
    const shown = await openDashboard([small], { shut: true });
    expect(shown.complaints).toBe('');
    expect(shown.text).toContain('mei (operator)');
    expect(shown.text).toContain('gpu-02');
    const shut = await openDashboard([small], { shut: true, token: false });
    expect(shut.text).not.toContain('gpu-02');
    expect(shut.dom).toMatch(/<main hidden/);
    expect(shut.dom).toMatch(/<p class="empty" id="shut" data-say/);
    expect(shut.dom).not.toMatch(/id="token-form"[^>]*hidden/);
  });

  it('shows totals but no device without a token', async () => {
    const { text, dom } = await openDashboard([big], { token: false });
    expect(text).toContain('ascend 910B3');
    expect(text).toContain('Give the token to see each device.');
    expect(dom).not.toContain('job-abc');
    expect(dom).toMatch(/id="devices-section"[^>]*hidden/);
  });

  it('shows none of it on a network without accelerators', async () => {
    const { dom, complaints } = await openDashboard([sampleNode('cpu-only', null)]);
    expect(complaints).toBe('');
    expect(dom).toMatch(/id="fleet-section"[^>]*hidden/);
    expect(dom).toMatch(/id="devices-section"[^>]*hidden/);
  });

  it.each([
    ['zh-TW', '加速器峰值', '裝置', '模擬'],
    ['zh-CN', '加速器峰值', '设备', '模拟'],
  ])('speaks %s', async (language, ...phrases) => {
    const { text, complaints } = await openDashboard([small], { language });
    expect(complaints).toBe('');
    for (const phrase of phrases) expect(text).toContain(phrase);
  });
});
