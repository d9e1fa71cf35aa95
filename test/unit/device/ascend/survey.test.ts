import { describe, expect, test } from 'vitest';
import { Fault } from '../../../../src/base/fault.ts';
import type { ToolReading } from '../../../../src/device/accelerator.ts';
import { createAscend } from '../../../../src/device/ascend.ts';
import { createScriptedRunner, fixture } from '../scripted-runner.ts';

const MIB = 1024 * 1024;
const table = fixture('ascend/info-hbm.txt');

/** A form of the fixtures, which tell of NPU 1, told of another NPU. */
function told(form: string, npu: string): string {
  return fixture(`ascend/${form}.txt`)
    .replace(/(NPU ID +: )1/, `$1${npu}`)
    .replace('A1B2C3D4 00112233', `A1B2C3D4 0011223${npu}`)
    .replace('0000:C2:00.0', `0000:C${npu}:00.0`);
}

/** A host of four 910B3; NPU 1 has two parts. */
function host(args: string): string | null {
  if (args === 'info') return table;
  if (args === 'info -m') return fixture('ascend/map.txt');
  if (args === 'info -t topo') return fixture('ascend/topology.txt');
  const [, form = '', npu = '', chip] = /^info -t (\S+) -i (\d)(?: -c (\d))?$/.exec(args) ?? [];
  if (form === 'info-vnpu') return fixture(npu === '1' ? 'ascend/parts.txt' : 'ascend/parts-none.txt');
  if (form === 'board') return told(chip === undefined ? 'board-card' : 'board-chip', npu);
  if (form === 'health') return npu === '2' ? fixture('ascend/health.txt') : null;
  return ['usages', 'common', 'ecc', 'memory'].includes(form) ? told(form, npu) : null;
}

const chipsOf = (readings: readonly ToolReading[]): ToolReading[] =>
  readings.filter(({ parentId }) => parentId === null);

describe('a query with time enough', () => {
  test('tells everything of each chip', async () => {
    const readings = await createAscend().query(createScriptedRunner('npu-smi', host));
    const [first, second, third, fourth] = chipsOf(readings);
    expect(second).toMatchObject({
      index: 1,
      id: 'A1B2C3D4-00112231-44556677-8899AABB-CCDDEEFF',
      name: '910B3',
      busId: '0000:C2:00.0',
      serial: '102399988877',
      driverVersion: '24.1.9',
      firmwareVersion: '7.3.0.1.231',
      nodeNumber: 1,
      facts: { units: 20, maxClockHertz: 1.8e9 },
      conditions: [],
      healthKnown: true,
    });
    expect(second?.numbers).toEqual({
      values: {
        busyRatio: 0.87,
        memoryBusyRatio: 0.38,
        memoryTotalBytes: 65535 * MIB,
        memoryUsedBytes: 61234 * MIB,
        powerWatts: 311.3,
        temperatureCelsius: 61,
        memoryTemperatureCelsius: 57,
        clockHertz: 1.65e9,
        memoryClockHertz: 1.6e9,
        eccCorrectedTotal: 19,
        eccUncorrectedTotal: 2,
      },
      engineBusyRatio: { vector: 0.21, cube: 0.63, aicpu: 0.02, controlCpu: 0.06, overall: 0.88 },
    });
    expect(second?.processes).toEqual([
      { pid: 41877, name: 'python3 -m train', memoryBytes: 57901 * MIB },
      { pid: 41901, name: 'tune', memoryBytes: 413 * MIB },
    ]);
    expect(first?.processes).toEqual([]);
    expect(first?.links).toEqual([
      { kind: 'hccs', peer: second?.id, count: 1, up: null },
      { kind: 'SYS', peer: third?.id, count: 1, up: null },
      { kind: 'SYS', peer: fourth?.id, count: 1, up: null },
    ]);
    // Level and codes: one that is listed, and another.
    expect(third?.conditions.map(({ code, rung }) => [code, rung])).toEqual([
      ['health-warning', 'warn'],
      ['error-80E38008', 'resetNeeded'],
      ['error-80CB8009', 'stopJobs'],
    ]);
    expect(fourth).toMatchObject({ healthKnown: false, conditions: [] });
    expect(fourth?.numbers.values.powerWatts).toBe('unsupported');
  });

  test('lists the parts of a chip under it', async () => {
    const vendor = createAscend();
    const readings = await vendor.query(createScriptedRunner('npu-smi', host));
    const parts = readings.filter(({ parentId }) => parentId !== null);
    const chip = chipsOf(readings)[1];
    expect(parts).toMatchObject([
      { index: 0, id: `${chip?.id}/vnpu-116`, parentId: chip?.id, profile: 'vir10_3c_32g', nodeNumber: 116 },
      { index: 1, id: `${chip?.id}/vnpu-117`, profile: 'vir05_1c_16g', facts: { units: 5 } },
    ]);
    expect(parts.map(({ numbers }) => numbers.values)).toEqual([
      { memoryTotalBytes: 32 * 1024 * MIB },
      { memoryTotalBytes: 16 * 1024 * MIB },
    ]);
    expect(vendor.grant(parts)).toEqual({
      environment: {
        ASCEND_RT_VISIBLE_DEVICES: '-1',
        ASCEND_VISIBLE_DEVICES: '116,117',
        ASCEND_RUNTIME_OPTIONS: 'VIRTUAL',
      },
      deviceNodes: [
        '/dev/vdavinci116',
        '/dev/vdavinci117',
        '/dev/davinci_manager',
        '/dev/devmm_svm',
        '/dev/hisi_hdc',
      ],
      hostCounted: ['ASCEND_RT_VISIBLE_DEVICES'],
    });
  });

  test('goes by logic ids for CANN and by physical ones for nodes', async () => {
    const vendor = createAscend();
    const readings = await vendor.query(
      createScriptedRunner('npu-smi', (args) =>
        args === 'info'
          ? fixture('ascend/info-two-chips.txt').replace(/\| ([01]) {5}([0-3]) /g, '| $1     1$2')
          : args === 'info -m'
            ? fixture('ascend/map-physical.txt').replace(/ (8|9|10|11) {4}Ascend910/g, ' 1$1    Ascend910')
            : null,
      ),
    );
    expect(readings.map(({ index, nodeNumber }) => [index, nodeNumber])).toEqual([
      [0, 10],
      [1, 11],
      [2, 12],
      [3, 13],
    ]);
    const { environment, deviceNodes } = vendor.grant(readings.slice(2, 3));
    expect(environment).toEqual({ ASCEND_RT_VISIBLE_DEVICES: '2', ASCEND_VISIBLE_DEVICES: '12' });
    expect(deviceNodes[0]).toBe('/dev/davinci12');
  });
});

describe('a query with little time', () => {
  test('tells the table, and that the rest is late', async () => {
    const runner = createScriptedRunner('npu-smi', host, { budgetMs: 150, callMs: 100 });
    const readings = await createAscend().query(runner);
    expect(runner.calls).toEqual(['info']);
    expect(readings).toHaveLength(4);
    expect(readings[1]?.numbers.values).toMatchObject({
      powerWatts: 311.3,
      memoryBusyRatio: 'late',
      clockHertz: 'late',
      eccCorrectedTotal: 'late',
      memoryClockHertz: 'late',
    });
    // Nobody told which nodes they are.
    expect(readings.map(({ nodeNumber }) => nodeNumber)).toEqual([null, null, null, null]);
  });

  test('every chip has its turn, and ids stay what they were', async () => {
    const vendor = createAscend();
    const ids = new Set<string>();
    const told = new Set<number>();
    for (let query = 0; query < 12; query++) {
      // About six calls fit.
      const readings = await vendor.query(
        createScriptedRunner('npu-smi', host, { budgetMs: 1000, callMs: 130 }),
      );
      for (const { id, parentId, index, numbers } of readings) {
        if (parentId !== null) continue;
        ids.add(id);
        if (typeof numbers.values.memoryBusyRatio === 'number') told.add(index);
      }
    }
    expect([...told].sort()).toEqual([0, 1, 2, 3]);
    expect(ids.size).toBe(4);
  });

  test('a form that the version lacks is asked three times and no more', async () => {
    const vendor = createAscend();
    const calls: string[] = [];
    for (let query = 0; query < 10; query++) {
      const runner = createScriptedRunner('npu-smi', (args) => (/-t usages/.test(args) ? null : host(args)));
      const [reading] = await vendor.query(runner);
      calls.push(...runner.calls.filter((call) => /-t usages/.test(call)));
      if (query > 0) expect(reading?.numbers.values.memoryBusyRatio).toBe('unsupported');
    }
    expect(calls).toHaveLength(3);
  });

  test('what is late in a form does not take the table with it', async () => {
    const runner = createScriptedRunner('npu-smi', (args) =>
      args === 'info' ? table : new Fault('DEVICE_TOOL_LATE', 'hangs'),
    );
    expect(await createAscend().query(runner)).toHaveLength(4);
    expect(runner.calls).toHaveLength(2);
  });
});

describe('a tool that cannot', () => {
  test.each([
    ['driver not ready', fixture('ascend/driver-not-ready.txt'), 'DEVICE_DRIVER_LOST'],
    ['not permitted', 'dcmi module initialize failed. ret is -8002\n', 'DEVICE_DENIED'],
    ['internal error', 'dcmi module initialize failed. ret is -8005\n', 'DEVICE_TOOL_FAILED'],
    ['an unknown answer', 'dcmi module initialize failed. ret is -9999\n', 'DEVICE_TOOL_FAILED'],
    ['another form', fixture('ascend/usages.txt'), 'DEVICE_OUTPUT_UNKNOWN'],
    ['another heading', table.replace('Memory-Usage(MB)', 'Memory-Usage(GB)'), 'DEVICE_OUTPUT_UNKNOWN'],
    ['another memory column', table.replaceAll('HBM-Usage(MB)', 'HBM-Left(MB)'), 'DEVICE_OUTPUT_UNKNOWN'],
    ['nothing', '', 'DEVICE_TOOL_FAILED'],
  ])('%s', async (_, text, code) => {
    const asked = createAscend().query(createScriptedRunner('npu-smi', () => text));
    await expect(asked).rejects.toMatchObject({ code });
  });
});

describe('a tool of the 950', () => {
  const wide = fixture('ascend/info-950.txt');
  const board = (npu: string) => `
        NPU ID                         : ${npu}
        Chip Name                      : Ascend950PR
        Serial Number                  : 1026${npu}
        Firmware Version               : 9.0.0.1
        PCIe Bus Info                  : 0000:A1:00.0
        Chip Count                     : 1
        DDie ID                        : 1A2B3C4D 2120D518 77936EE6 80B40A0A D410000${npu}
`;
  const forms: Record<string, string> = {
    usages: 'Aicore Usage Rate(%)           : 88\n        HBM Bandwidth Usage Rate(%)    : 41\n',
    common: 'Aicore Freq(MHZ)               : 1650\n        Aicore Count                   : 28\n',
  };

  test('is asked without numbers of chips, and told of by its dies', async () => {
    const runner = createScriptedRunner('npu-smi', (args) => {
      const [, form = '', npu = ''] = /^info -t (\S+) -i (\d+)$/.exec(args) ?? [];
      if (args === 'info') return wide;
      if (form === 'board') return board(npu);
      return form in forms ? `        NPU ID                         : ${npu}\n        ${forms[form]}` : null;
    });
    const readings: readonly ToolReading[] = await createAscend().query(runner);
    expect(runner.calls.filter((call) => call.includes(' -c '))).toEqual([]);
    expect(readings.map(({ id, serial }) => [id, serial])).toEqual([
      ['1A2B3C4D-2120D518-77936EE6-80B40A0A-D4100001', '10261'],
      ['1A2B3C4D-2120D518-77936EE6-80B40A0A-D4100004', '10264'],
    ]);
    expect(readings.map(({ facts: { units, maxClockHertz } }) => [units, maxClockHertz])).toEqual([
      [28, 1650e6],
      [28, 1650e6],
    ]);
    // Of the cores, where that is told.
    expect(readings.map(({ numbers: { values } }) => [values.busyRatio, values.memoryBusyRatio])).toEqual([
      [0.88, 0.41],
      [0.88, 0.41],
    ]);
  });
});
