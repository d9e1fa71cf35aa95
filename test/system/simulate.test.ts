// A simulated fleet from end to end: `up --simulate` shows it everywhere, and says everywhere that it is simulated.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { agentUrl, type Bed, createBed, type Daemon, until } from './bed.ts';
import { parsePage } from './exposition.ts';

const FLEET = '8xH100,8xAscend910B3';

let bed: Bed;
let up: Daemon;
beforeAll(async () => {
  bed = createBed();
  up = await bed.start(['up', '--simulate', FLEET]);
  await until('numbers of the devices at the scheduler', async () => {
    const overview = await (await fetch(`${up.endpoint.url}/v1/overview`)).json();
    return (
      (overview as { fleet: { all: { powerWatts: { counted: number } } } }).fleet.all.powerWatts.counted ===
      16
    );
  });
});
afterAll(() => bed.close());

describe('a simulated fleet', () => {
  test('is told by up as what it is', () => {
    expect(up.stdout()).toContain('16 accelerators are simulated');
  });

  test('has peaks by table, numbers, and the mark in nodes, node, devices and top', async () => {
    for (const args of [
      ['nodes'],
      ['devices', '--simulate', FLEET],
      ['top', '--once', '--simulate', FLEET],
    ]) {
      const { code, stdout } = await bed.run(args);
      expect({ args, code }).toEqual({ args, code: 0 });
      expect(stdout, args.join(' ')).toContain('simulated');
      expect(stdout, args.join(' ')).toMatch(/peak 7\.92 PFLOPS BF16/);
    }
    const json = JSON.parse((await bed.run(['devices', '--simulate', FLEET, '-o', 'json'])).stdout) as {
      devices: { simulated: boolean; vendor: string; powerWatts: number | null }[];
    };
    expect(json.devices).toHaveLength(16);
    for (const device of json.devices) {
      expect(device.simulated).toBe(true);
      expect(device.powerWatts).toBeGreaterThan(0);
    }
  });

  test('stands on all pages for Prometheus', async () => {
    const native = await (await fetch(agentUrl(up, 'metrics'))).text();
    expect(native.match(/^accelerator_info\{.*simulated="true".*\} 1$/gm)).toHaveLength(16);
    const dcgm = await (await fetch(agentUrl(up, 'metrics/dcgm'))).text();
    expect(dcgm.match(/^DCGM_FI_DEV_POWER_USAGE\{/gm)).toHaveLength(8);
    expect(
      parsePage(await (await fetch(agentUrl(up, 'metrics/npu-exporter'))).text()).get('machine_npu_nums'),
    ).toBe(8);
    const scheduler = await (await fetch(`${up.endpoint.url}/metrics`)).text();
    expect(scheduler).toMatch(
      /^flopd_scheduler_accelerators\{vendor="ascend",model="910B3",state="simulated"\} 8$/m,
    );
  });
});
