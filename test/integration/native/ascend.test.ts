// The vendor ascend over the fake DCMI: who is there, every number, parts, health, topology.
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packageRoot } from './addon.ts';
import {
  buildAscend,
  chip910b3,
  compiler,
  drive,
  folder,
  hasAsan,
  type Listed,
  library,
  MEBI,
  type Opened,
  type Read,
  readAll,
  removeAscend,
  two910b3,
} from './ascend-bed.ts';

afterAll(removeAscend);

describe.skipIf(!hasAsan)(hasAsan ? 'ascend' : 'ascend (skipped: no libasan)', () => {
  beforeAll(buildAscend, 120_000);

  it('is missing where there is no library, and failed where there are no cards or no driver', () => {
    expect(drive([], ['open'], { library: folder })).toMatchObject([{ opened: false, missing: true }]);
    const [none] = drive(['set count 0'], ['open']) as Opened[];
    expect(none).toMatchObject({ opened: false, missing: false });
    expect(none?.problem).toMatch(/^no cards/);
    const [unloaded] = drive(['set count 2', 'error dcmi_init -8005'], ['open']) as Opened[];
    expect(unloaded?.problem).toMatch(/internal error.*dcmi_init: error -8005/);
    const [early] = drive(['set count 2', 'error dcmi_get_card_list -8012'], ['open']) as Opened[];
    expect(early?.problem).toMatch(/not ready/);
    const [lacking] = drive([], ['open'], {
      library: library('no-list', ['dcmi_get_card_list', 'dcmi_get_card_num_list', 'dcmiv2_init']),
    }) as Opened[];
    expect(lacking?.problem).toBe('the library lacks dcmi_get_card_list');
  });

  it('says who a chip is', () => {
    const script = [...chip910b3, 'device 0 busId 0000:C1:00.0', 'device 0 card 5', 'device 0 physical 9'];
    const [opened, listed] = drive(script, ['open', 'list']) as [Opened, Listed];
    expect(opened).toMatchObject({ opened: true, driverVersion: '24.1.rc1', problem: '' });
    expect(opened.library).toMatch(/libdcmi\.so$/);
    expect(listed.devices).toEqual([
      {
        id: '42C711D4-20B03704-4A10C8D5-14CC040A-00000000',
        parent: '',
        name: '910B3',
        busId: '0000:C1:00.0',
        serial: '1025C9048791',
        firmware: '7.1.0.7.220',
        profile: '',
        numaNode: 3,
        nodeNumber: 9,
        units: 20,
        maxClockHertz: 1.8e9,
        index: 0,
      },
    ]);
  });

  it('reads every number in its unit', () => {
    const { values, signals, codes, processes, processesAbsent } = readAll(chip910b3);
    const { end: _, ...numbers } = values;
    const present = Object.fromEntries(
      Object.entries(numbers).filter(([, value]) => typeof value === 'number'),
    );
    expect(present).toEqual({
      BUSY: 0.57,
      MEMORY_BUSY: 0.12,
      MEMORY_TOTAL: 65536 * MEBI,
      MEMORY_USED: 60156 * MEBI,
      POWER: expect.closeTo(331.1, 9),
      POWER_LIMIT: 400,
      TEMPERATURE: 66,
      MEMORY_TEMPERATURE: 62,
      CLOCK: 8e8,
      MEMORY_CLOCK: 1.6e9,
      ECC_CORRECTED: 30,
      ECC_UNCORRECTED: 4,
      ENGINE_AICPU: 0.03,
      ENGINE_CONTROL_CPU: 0.06,
      ENGINE_VECTOR: 0.07,
      ENGINE_CUBE: 0.61,
      ENGINE_OVERALL: 0.63,
      THROTTLE_POWER_CAP: 0,
      THROTTLE_HW_SLOWDOWN: 0,
      THROTTLE_SW_THERMAL: 0,
      THROTTLE_POWER_BRAKE: 0,
    });
    expect(values.ENERGY).toBe('unsupported');
    expect(signals).toMatchObject({
      healthLevel: 0,
      networkHealth: 0,
      clockReduction: 0,
      eccUncorrectedVolatile: 2,
      pagesPending: 11,
    });
    expect(codes).toEqual([]);
    expect(processesAbsent).toBe('present');
    expect(processes).toEqual([
      [4711, 1073741824],
      [4712, 2147483648],
    ]);
  });

  it('falls back call by call where the library is older', () => {
    const old = library('old', [
      'dcmi_get_card_list',
      'dcmi_get_device_chip_info_v2',
      'dcmi_get_device_pcie_info_v2',
      'dcmi_get_device_die_v2',
      'dcmi_get_device_multi_utilization_rate',
      'dcmi_get_device_aicore_info',
      'dcmi_get_device_hbm_info',
      'dcmi_subscribe_fault_event',
    ]);
    const script = [
      ...chip910b3,
      'device 0 busId 0000:C1:00.0',
      ...['device * busy.2 41', 'device * busy.12 8', 'device * busy.13 43', 'device * busy.14 39'],
      ...['device * frequency.7 750', 'device * frequency.9 1800', 'event 0 2 0x80E18400'],
    ];
    const answers = drive(script, ['open', 'list', 'read 0 0', 'read 0 1', 'wait 500'], { library: old }) as [
      Opened,
      Listed,
      Read,
      Read,
      unknown,
    ];
    expect(answers[1].devices[0]).toMatchObject({
      id: '42C711D4-20B03704-4A10C8D5-14CC040A-00000000',
      name: '910B3',
      busId: '0000:C1:00.0',
      maxClockHertz: 1.8e9,
    });
    expect(answers[3].values).toMatchObject({
      BUSY: 0.41,
      CLOCK: 7.5e8,
      ENGINE_VECTOR: 0.08,
      ENGINE_OVERALL: 0.43,
      ENGINE_CUBE: 0.39,
      MEMORY_TOTAL: 65536 * MEBI,
      MEMORY_USED: 60156 * MEBI,
    });
    expect(answers[4]).toMatchObject({ code: 0x80e18400, count: 1 });
  });

  it('makes do with a library of few functions', () => {
    const few = library('few', []);
    const version =
      '{ global: dcmi_init; dcmi_get_card_list; dcmi_get_device_num_in_card; dcmi_get_device_health;';
    writeFileSync(join(few, 'few.map'), `${version} dcmi_get_device_power_info; local: *; };\n`);
    const source = join(packageRoot, 'test/fakes/vendor/dcmi.c');
    execFileSync(compiler, [
      ...['-shared', '-fPIC', '-std=gnu11', '-D_GNU_SOURCE', '-pthread', '-Wl,-soname,libdcmi.so'],
      ...[`-Wl,--version-script=${join(few, 'few.map')}`, source, '-lm', '-o', join(few, 'libdcmi.so')],
    ]);
    const script = ['set count 2', 'device * power 1000', 'device 0 health 0', 'device 1 health 2'];
    const orders = ['open', 'list', 'read 1 0', 'read 1 1', 'read 1 2', 'wait 5', 'list'];
    const answers = drive(script, orders, { library: few }) as [
      Opened,
      Listed,
      Read,
      Read,
      Read,
      string,
      Listed,
    ];
    expect(answers[1].devices).toMatchObject([
      { id: 'npu-0-0', index: 0, nodeNumber: -1, units: null, name: '' },
      { id: 'npu-1-0', index: 1 },
    ]);
    expect(answers[4]).toMatchObject({
      outcome: 'ok',
      signals: { healthLevel: 2 },
      processesAbsent: 'unsupported',
    });
    const { end: _, ...values } = answers[4].values;
    const { POWER, ...others } = values;
    expect(POWER).toBe(100);
    const found = new Set(Object.entries(others).map(([, value]) => value));
    expect([...found].filter((each) => typeof each === 'number')).toEqual([]);
    expect([others.BUSY, others.MEMORY_TOTAL, others.ENERGY]).toEqual([
      'unsupported',
      'unsupported',
      'unsupported',
    ]);
    expect(answers[5]).toBe('none');
  });

  it('lists two chips on a card and leaves management controllers out', () => {
    const script = [
      ...['set count 4', 'set chipsPerCard 2', 'set mcu 1', 'device * name 310P3', 'device * cores 8'],
      ...['device * memorySize 21527', 'device * memoryAvailable 19679', 'device * memoryClock 3200'],
      ...['device * busy.5 4', 'device * ecc.0 1 0 0 7 0 0 0', 'device * health 0'],
    ];
    const answers = drive(script, ['open', 'list', 'read 3 0', 'read 3 1', 'read 3 2']) as [
      Opened,
      Listed,
      Read,
      Read,
      Read,
    ];
    expect(answers[1].devices.map(({ index, name }) => [index, name])).toEqual([
      [0, '310P3'],
      [1, '310P3'],
      [2, '310P3'],
      [3, '310P3'],
    ]);
    expect(new Set(answers[1].devices.map(({ id }) => id)).size).toBe(4);
    expect(answers[4].values).toMatchObject({
      MEMORY_TOTAL: 21527 * MEBI,
      MEMORY_USED: (21527 - 19679) * MEBI,
      MEMORY_CLOCK: 3.2e9,
      MEMORY_BUSY: 0.04,
      MEMORY_TEMPERATURE: 'unsupported',
      ECC_CORRECTED: 7,
      POWER: 'unsupported',
    });
    expect(answers[4].signals.pagesPending).toBeNull();
    expect(answers[4].processesAbsent).toBe('unsupported');
    // By the older call that counts controllers as chips, they are known by their type.
    const counted = library('counted', ['dcmi_get_device_id_in_card']);
    const [, listed] = drive(script, ['open', 'list'], { library: counted }) as [Opened, Listed];
    expect(listed.devices).toHaveLength(4);
  });

  it('goes by the newer functions where the classic ones list nothing', () => {
    const answers = drive(
      [...two910b3, 'set generation new', 'device 1 name Ascend950PR', 'device 1 logic 4'],
      ['open', 'list', 'read 1 0', 'read 1 1'],
    ) as [Opened, Listed, Read, Read];
    expect(answers[1].devices).toMatchObject([
      { index: 0, nodeNumber: 0 },
      { index: 4, nodeNumber: 1, id: '42C711D4-20B03704-4A10C8D5-14CC040A-00000001' },
    ]);
    expect(answers[3].values).toMatchObject({ BUSY: 0.57, MEMORY_USED: 60156 * MEBI });
  });

  it('lists the parts of a chip, with numbers of their own and the health of their chip', () => {
    const script = [
      ...[...two910b3, 'device 0 part 100 vir05_1c_16g 5 16384 30 16777216 4194304'],
      ...['device 0 part 101 vir10 10 32768', 'device 0 health 1', 'device 0 code 0x80E01801'],
    ];
    const orders = [
      'open',
      'list',
      ...[0, 1, 2].map((pace) => `read 1 ${pace}`),
      ...[0, 1, 2].map((pace) => `read 2 ${pace}`),
    ];
    const answers = drive(script, orders) as unknown[];
    const { devices } = answers[1] as Listed;
    const chip = '42C711D4-20B03704-4A10C8D5-14CC040A-00000000';
    expect(devices).toMatchObject([
      { id: chip, parent: '' },
      {
        id: `${chip}/vnpu-100`,
        parent: chip,
        profile: 'vir05_1c_16g',
        name: '910B3',
        index: 0,
        nodeNumber: 100,
        units: 5,
        maxClockHertz: 1.8e9,
        serial: '',
      },
      { id: `${chip}/vnpu-101`, parent: chip, profile: 'vir10', index: 1, units: 10 },
      { parent: '', index: 1 },
    ]);
    const measured = answers[4] as Read;
    expect(measured.values).toMatchObject({
      BUSY: 0.3,
      MEMORY_TOTAL: 16384 * MEBI,
      MEMORY_USED: 12288 * MEBI,
      POWER: 'unsupported',
      TEMPERATURE: 'unsupported',
    });
    expect([measured.signals.healthLevel, measured.codes, measured.processesAbsent]).toEqual([
      1,
      [0x80e01801],
      'unsupported',
    ]);
    expect((answers[7] as Read).values).toMatchObject({
      BUSY: 'unsupported',
      MEMORY_TOTAL: 32768 * MEBI,
      MEMORY_USED: 'unsupported',
    });
  });

  it('tells levels of health and codes, those of this moment', () => {
    const bad = [...chip910b3, 'device 0 health 3', 'device 0 code 0x80E18400', 'device 0 code 0x80E01801'];
    const answers = drive(chip910b3, ['open', 'list', 'read 0 0', bad, 'read 0 0', chip910b3, 'read 0 1']);
    const [before, , after, , mended] = answers.slice(2) as Read[];
    expect([before?.signals.healthLevel, before?.codes]).toEqual([0, []]);
    expect([after?.signals.healthLevel, after?.codes]).toEqual([3, [0x80e18400, 0x80e01801]]);
    expect([mended?.signals.healthLevel, mended?.codes]).toEqual([0, []]);
    const odd = readAll([...chip910b3, 'device 0 health 0xFFFFFFFF']);
    expect(odd.signals.healthLevel).toBeNull();
    const many = Array.from({ length: 200 }, (_, i) => `device 0 code ${(i % 64) + 1}`);
    expect(readAll([...chip910b3, ...many]).codes).toHaveLength(32);
  });

  it('says why the clock is reduced, but not that a chip without work is slow', () => {
    const idle = readAll([...chip910b3, 'device 0 cause 1']);
    expect([idle.signals.clockReduction, idle.values.THROTTLE_POWER_CAP]).toEqual([0, 0]);
    const reduced = readAll([...chip910b3, `device 0 cause ${0b10000100101}`]);
    expect(reduced.signals.clockReduction).toBe(0b10000100100);
    expect(reduced.values).toMatchObject({
      THROTTLE_POWER_CAP: 1,
      THROTTLE_HW_SLOWDOWN: 0,
      THROTTLE_SW_THERMAL: 1,
      THROTTLE_POWER_BRAKE: 1,
    });
  });

  it('tells the paths to the other chips', () => {
    const script = [
      ...['set count 12', 'device * topology 3', 'device 0 topology.1 6', 'device 0 topology.2 1'],
      ...['device 0 topology.3 9', 'device 0 topology.4 77'],
    ];
    const answers = drive(script, ['open', 'list', 'read 0 2', 'read 0 2']);
    const { devices } = answers[1] as Listed;
    const [first, second] = answers.slice(2) as Read[];
    // A read asks for eight pairs at most; two of them have no kind that anybody knows.
    expect(first?.links).toHaveLength(6);
    expect(second?.links).toHaveLength(9);
    expect(second?.links.slice(0, 3)).toEqual([
      ['sio', devices[1]?.id, 1, -1],
      ['SYS', devices[2]?.id, 1, -1],
      ['hccs', devices[5]?.id, 1, -1],
    ]);
  });
});
