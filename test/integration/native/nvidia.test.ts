// NVIDIA's file over the fake NVML, under the sanitizers: who is there, numbers in their units, and why there is none.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { buildFake, fakeNvml } from '../../fakes/vendor/build.ts';
import { at, busIds, createNvidiaHarness, gib, hasAsan, ids, machine } from './nvidia-machine.ts';

describe.skipIf(!hasAsan)(hasAsan ? 'nvidia' : 'nvidia (skipped: no libasan)', { timeout: 60_000 }, () => {
  const { whole, play, readOnce, remove } = createNvidiaHarness();
  afterAll(remove);

  it('tells who is there', () => {
    const [open, list] = play([machine, 'open', 'list', 'close']);
    expect(open).toMatchObject({ isOpen: true, missing: false, driver: '570.86.15', problem: '' });
    expect(open?.library).toContain('libnvidia-ml.so.1');
    expect(at(list?.devices, 0)).toEqual({
      ...{ index: 0, id: ids[0], parent: '', name: 'NVIDIA H100 80GB HBM3', busId: busIds[0] },
      ...{ serial: '1650123000001', firmware: '96.00.89.00.01', profile: '', capability: '9.0' },
      ...{ numaNode: 1, nodeNumber: 3, hasPipes: false, lanes: 16896, units: 132, maxClockHertz: 1.98e9 },
    });
    expect(at(list?.devices, 1)).toMatchObject({
      index: 1,
      id: ids[1],
      serial: '',
      numaNode: -1,
      nodeNumber: -1,
    });
  });

  it('reads every number in its unit', () => {
    const { values, found, signals, processes, links, outcomes } = readOnce(machine);
    expect(outcomes).toEqual(['ok', 'ok', 'ok']);
    expect(values).toMatchObject({
      ...{ BUSY: 0.29, MEMORY_BUSY: 0.07, MEMORY_TOTAL: 80 * gib, MEMORY_USED: 3 * gib, POWER: 350.123 },
      ...{ POWER_LIMIT: 700, ENERGY: 123456789.012, TEMPERATURE: 45, MEMORY_TEMPERATURE: 51, CLOCK: 1.755e9 },
      ...{ MEMORY_CLOCK: 2.619e9, ECC_CORRECTED: 12, ECC_UNCORRECTED: 2, FAN: 0.3, PCIE_REPLAYS: 6 },
      ...{ PCIE_TRANSMIT: 2_048_000, PCIE_RECEIVE: 1_024_000, LINK_TRANSMIT: 512_000, LINK_RECEIVE: 614_400 },
      ...{ ENGINE_ENCODER: 0.03, ENGINE_DECODER: 0.04, ENGINE_CUBE: 'unsupported', PIPE_SM: 'unsupported' },
      ...{ THROTTLE_POWER_CAP: 1, THROTTLE_HW_THERMAL: 1, THROTTLE_SW_THERMAL: 0, THROTTLE_SYNC_BOOST: 0 },
    });
    expect(found).toEqual([
      ...['FAN', 'PCIE_REPLAYS', 'PCIE_RECEIVE', 'PCIE_TRANSMIT', 'LINK_RECEIVE', 'LINK_TRANSMIT'],
      ...[
        'ENGINE_ENCODER',
        'ENGINE_DECODER',
        'THROTTLE_POWER_CAP',
        'THROTTLE_HW_SLOWDOWN',
        'THROTTLE_SW_THERMAL',
      ],
      ...['THROTTLE_HW_THERMAL', 'THROTTLE_POWER_BRAKE', 'THROTTLE_SYNC_BOOST'],
    ]);
    expect(signals).toEqual({
      ...{
        rowRemapPending: 1,
        rowRemapFailed: 0,
        pagesPending: 0,
        eccUncorrectedVolatile: 1,
        recoveryAction: 2,
      },
      ...{ throttleReasons: 0x44, fabricState: 3, fabricStatus: 0, linksDown: 1, pcieGeneration: 5 },
      ...{ pcieWidth: 16, pcieWidthMax: 16, virtualization: 0 },
    });
    expect(processes).toEqual([
      [4242, gib],
      [4243, null],
    ]);
    // Two to the other device, one that is down, one to a switch.
    expect(links).toEqual([
      ['nvlink', ids[1], 2, 1],
      ['nvlink', '', 1, 0],
      ['nvlink', '', 1, 1],
    ]);
  });

  it('does not take a card for broken whose links nobody plugged anything into', () => {
    const bare = machine.filter((line) => !line.includes(' link.'));
    const { signals, links } = readOnce([...bare, 'device 0 link.0 0', 'device 0 link.1 0']);
    expect(signals).not.toHaveProperty('linksDown');
    expect(links).toEqual([['nvlink', '', 2, 0]]);
  });

  it('leaves out nothing but the number whose function is missing', () => {
    const whole = readOnce(machine).values;
    const cases: Record<string, readonly string[]> = {
      nvmlDeviceGetPowerUsage: ['POWER'],
      nvmlDeviceGetUtilizationRates: ['BUSY', 'MEMORY_BUSY'],
      nvmlDeviceGetEnforcedPowerLimit: ['POWER_LIMIT'],
      nvmlDeviceGetTotalEccErrors: ['ECC_CORRECTED', 'ECC_UNCORRECTED'],
      nvmlDeviceGetFieldValues: ['MEMORY_TEMPERATURE', 'LINK_TRANSMIT', 'LINK_RECEIVE'],
      nvmlDeviceGetTemperatureV: [],
      nvmlDeviceGetPcieReplayCounter: ['PCIE_REPLAYS'],
    };
    for (const [name, numbers] of Object.entries(cases)) {
      const expected = { ...whole, ...Object.fromEntries(numbers.map((each) => [each, 'unsupported'])) };
      expect([name, readOnce(machine, [name]).values]).toEqual([name, expected]);
    }
  });

  it('reads what a library of three functions can tell', () => {
    const base = [
      'nvmlInit_v2',
      'nvmlDeviceGetCount_v2',
      'nvmlDeviceGetHandleByIndex_v2',
      'nvmlDeviceGetPowerUsage',
    ];
    const library = join(whole().folder, 'all');
    buildFake(fakeNvml, library);
    const symbols = spawnSync('nm', ['-D', '--defined-only', join(library, fakeNvml.soname)], {
      encoding: 'utf8',
    });
    const names = [...symbols.stdout.matchAll(/ T (?<name>nvml\w+)/g)].map((each) => each.groups?.name ?? '');
    expect(names.length).toBeGreaterThan(50);
    const without = names.filter((name) => !base.includes(name));
    const [, list, round, wait] = play([machine, 'open', 'list', 'round', 'wait 10 1', 'close'], without);
    expect(list?.devices.map(({ id, busId }) => [id, busId])).toEqual([
      ['nvidia-0', ''],
      ['nvidia-1', ''],
    ]);
    const { values, found, processes, outcomes } = at(round?.devices, 0);
    expect(outcomes).toEqual(['ok', 'ok', 'ok']);
    expect(Object.entries(values).filter(([, value]) => value !== 'unsupported')).toEqual([
      ['POWER', 350.123],
    ]);
    expect([found, processes, wait?.code]).toEqual([[], 'unsupported', -1]);
    const [, byPlace] = play([machine, 'open', 'list', 'close'], ['nvmlDeviceGetUUID']);
    expect(byPlace?.devices.map(({ id }) => id)).toEqual(busIds);
  });

  it('falls back to older calls and to fields', () => {
    const { values } = readOnce(
      [...machine, 'device * field.185 351500', 'device * field.83 5000', 'device * field.94 8'],
      [
        ...[
          'nvmlDeviceGetPowerUsage',
          'nvmlDeviceGetTotalEnergyConsumption',
          'nvmlDeviceGetPcieReplayCounter',
        ],
        ...['nvmlDeviceGetMemoryInfo_v2', 'nvmlDeviceGetTemperatureV'],
      ],
    );
    expect(values).toMatchObject({ POWER: 351.5, ENERGY: 5, PCIE_REPLAYS: 8, TEMPERATURE: 45 });
    // The first version of the call counts the reserve as used.
    expect(values).toMatchObject({ MEMORY_TOTAL: 80 * gib, MEMORY_USED: 3.5 * gib });
  });

  it.each([
    ['power', 'POWER', '0xffffffff', 'unsupported'],
    ['power', 'POWER', '200000000', 'error'],
    ['busy', 'BUSY', '101', 'error'],
    ['busy', 'BUSY', '0xffffffff', 'unsupported'],
    ['memoryUsed', 'MEMORY_USED', `${81 * gib}`, 'error'],
    ['memoryTotal', 'MEMORY_TOTAL', '0xffffffffffffffff', 'unsupported'],
    ['memoryTotal', 'MEMORY_TOTAL', '0', 'unsupported'],
    ['temperature', 'TEMPERATURE', '-1', 'unsupported'],
    ['temperature', 'TEMPERATURE', '5000', 'error'],
    ['temperature', 'TEMPERATURE', '-12', -12],
    ['clock', 'CLOCK', '200000', 'error'],
    ['field.82', 'MEMORY_TEMPERATURE', 'nan.', 'error'],
    ['field.82', 'MEMORY_TEMPERATURE', '-4.5', 'error'],
    ['field.82', 'MEMORY_TEMPERATURE', '0', 'unsupported'],
    ['fan', 'FAN', '120', 1],
    ['fan', 'FAN', '65000', 'error'],
    ['energy', 'ENERGY', '0xffffffffffffffff', 'unsupported'],
    ['eccCorrected', 'ECC_CORRECTED', '0xffffffffffffffff', 'unsupported'],
  ])('shows no number without sense: %s (%s) of %s is %s', (key, number, value, expected) => {
    expect(readOnce([...machine, `device 0 ${key} ${value}`]).values[number]).toBe(expected);
  });

  it.each([
    [3, 'unsupported'],
    [13, 'unsupported'],
    [4, 'denied'],
    [999, 'error'],
    [21, 'error'],
  ])('code %i of one call makes its number %s and no other', (code, reason) => {
    const { values, outcomes, processes } = readOnce([
      ...machine,
      `error nvmlDeviceGetPowerUsage ${code}`,
      `error nvmlDeviceGetTemperatureV ${code}`,
      `error nvmlDeviceGetTemperature ${code}`,
      `error nvmlDeviceGetTotalEccErrors ${code} 0`,
      `error nvmlDeviceGetComputeRunningProcesses_v3 ${code}`,
      `error nvmlDeviceGetGraphicsRunningProcesses_v3 ${code}`,
      `error nvmlDeviceGetMPSComputeRunningProcesses_v3 ${code}`,
    ]);
    expect(outcomes).toEqual(['ok', 'ok', 'ok']);
    expect(values).toMatchObject({
      POWER: reason,
      TEMPERATURE: reason,
      ECC_CORRECTED: reason,
      BUSY: 0.29,
      CLOCK: 1.755e9,
    });
    expect(processes).toBe(reason);
  });

  it.each([
    [15, 'deviceLost', 'fallen off the bus'],
    [16, 'deviceLost', 'needs a reset'],
    [9, 'vendorLost', 'driver is not loaded'],
    [1, 'vendorLost', 'lost its connection'],
    [18, 'vendorLost', 'version mismatch'],
  ])('code %i of any call is %s', (code, outcome, problem) => {
    for (const [name, pace] of [
      ['nvmlDeviceGetPowerUsage', 0],
      ['nvmlDeviceGetTotalEnergyConsumption', 1],
      ['nvmlDeviceGetRemappedRows', 2],
    ] as const) {
      const read = readOnce([...machine, `error ${name} ${code} 0`]);
      expect(read.outcomes).toEqual([0, 1, 2].map((each) => (each === pace ? outcome : 'ok')));
      expect(read.problem).toContain(problem);
      expect(read.problem).toContain(name);
    }
  });
});
