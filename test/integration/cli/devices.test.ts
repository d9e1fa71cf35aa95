import { readFileSync } from 'node:fs';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import * as z from 'zod';
import { type FakeApi, startFakeApi } from '../../fakes/api.ts';
import { sampleFault, sampleFleet } from '../../fakes/fleet.ts';
import { sampleNode } from '../../fakes/nodes.ts';
import { buildIfStale, createPlace, flopd, type Place } from './command-line.ts';

let api: FakeApi | null = null;
let place: Place;

beforeAll(buildIfStale);
afterEach(async () => {
  await api?.close();
  api = null;
  place?.remove();
});

describe('accelerators on the command line', () => {
  it('nodes, node and devices --node show accelerators, their holders and what is not well', async () => {
    api = await startFakeApi(async () => ({ state: 'COMPLETED' }));
    place = createPlace(api.url);
    const fleet = sampleFleet('4xH100', {
      records: { 3: { health: 'failed', rung: 'resetNeeded', faults: [sampleFault()] } },
    });
    api.nodes = [
      sampleNode('gpu-01', fleet, (id) => (id.endsWith('0000') ? ['job-a'] : [])),
      sampleNode('cpu-01', null),
    ];
    const nodes = (await flopd(place, ['nodes'])).stdout.toString();
    expect(nodes).toMatch(/^gpu-01 .* 2 of 4 free, simulated +3 ok, 1 failed +3\.96 PFLOPS BF16 /m);
    expect(nodes).toMatch(/^cpu-01 .* - +- +- +- /m);
    expect(nodes).toMatch(/^4 × nvidia H100 80GB HBM3 · simulated · 3 ok, 1 failed · 1 held · power /m);
    const one = (await flopd(place, ['node', 'gpu-01'])).stdout.toString();
    expect(one).toMatch(/^accelerators +2 of 4 free, simulated$/m);
    expect(one).toMatch(/^nvidia 0 .* simulated +ok .* job-a /m);
    expect(one).toContain('nvidia 3: xid-79 ×2');
    const devices = await flopd(place, ['devices', '--node', 'gpu-01']);
    expect([devices.code, devices.stderr]).toEqual([0, '']);
    expect(devices.stdout.toString()).toMatch(/^DEVICE .*HEALTH/);
    const json = JSON.parse(
      (await flopd(place, ['devices', '--node', 'gpu-01', '-o', 'json'])).stdout.toString(),
    );
    expect(json.devices).toHaveLength(4);
    expect((await flopd(place, ['devices', '--node', 'cpu-01'])).stdout.toString()).toBe(
      'cpu-01 has no accelerators\n',
    );
  });

  it('devices needs no scheduler, says that there are no accelerators, and gives the host as JSON', async () => {
    place = createPlace(null);
    const environment = { PATH: '/usr/bin:/bin' };
    const text = await flopd(place, ['devices'], environment);
    expect(text.stdout.toString()).toMatch(/^no accelerators/);
    const view = JSON.parse((await flopd(place, ['devices', '-o', 'json'], environment)).stdout.toString());
    expect(view.devices).toEqual([]);
    expect(view.backends).toMatchObject({ nvidia: null, ascend: null });
    const totalKib = Number(/^MemTotal:\s+(\d+)/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1]);
    expect(view.host.inventory.memoryBytes).toBe(totalKib * 1024);
    expect(Object.values(view.host.absent).includes('present')).toBe(false);
  });

  it('devices -o json is as its published schema says', async () => {
    place = createPlace(null);
    const environment = { PATH: '/usr/bin:/bin' };
    const schema = JSON.parse((await flopd(place, ['schema', 'devices'])).stdout.toString());
    const document = JSON.parse(
      (await flopd(place, ['devices', '-o', 'json'], environment)).stdout.toString(),
    );
    expect(z.fromJSONSchema(schema).safeParse(document).error).toBeUndefined();
  });

  it('refuses a fleet that cannot be simulated with exit code 2 and names what is near', async () => {
    place = createPlace(null);
    for (const verb of ['devices', 'top', 'doctor', 'up', 'agent']) {
      const ended = await flopd(place, [verb, '--simulate', '8xH10']);
      expect([verb, ended.code]).toEqual([verb, 2]);
      expect(ended.stderr).toMatch(/^flopd: [^\n]+did you mean H100[^\n]+\n$/);
    }
  });
});
