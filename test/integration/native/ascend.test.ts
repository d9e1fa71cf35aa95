// The vendor ascend over the fake DCMI, under AddressSanitizer and UBSan.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildFake, fakeDcmi, readCalls } from '../../fakes/vendor/build.ts';
import { packageRoot } from './addon.ts';

const compiler = process.env.CC ?? 'cc';
const asan = spawnSync(compiler, ['-print-file-name=libasan.so'], { encoding: 'utf8' }).stdout?.trim() ?? '';
const hasAsan = asan.startsWith('/') && existsSync(asan);
const folder = mkdtempSync(join(tmpdir(), 'flopd-ascend-'));
const program = join(folder, 'harness');
const MEBI = 1048576;

interface Device {
  readonly [key: string]: string | number | null;
}
interface Read {
  readonly outcome: string;
  readonly problem: string;
  readonly values: Readonly<Record<string, number | string>>;
  readonly signals: Readonly<Record<string, number | null>>;
  readonly codes: readonly number[];
  readonly processes: readonly (readonly [number, number])[];
  readonly processesAbsent: string;
  readonly links: readonly (readonly [string, string, number, number])[];
}
interface Opened {
  readonly opened: boolean;
  readonly missing: boolean;
  readonly library: string;
  readonly driverVersion: string;
  readonly problem: string;
}
interface Listed {
  readonly outcome: string;
  readonly problem: string;
  readonly devices: readonly Device[];
}

let scripts = 0;

/** Runs orders of the harness over a first script; an order that is a list of lines is the next script. */
function drive(
  script: readonly string[],
  orders: readonly (string | readonly string[])[],
  options: { readonly library?: string } = {},
): unknown[] {
  const own = mkdtempSync(join(folder, 'run-'));
  const write = (lines: readonly string[]): string => {
    const path = join(own, `script-${scripts++}`);
    writeFileSync(path, `${lines.join('\n')}\n`);
    return path;
  };
  const played = write(script);
  const input = orders
    .map((order) => (typeof order === 'string' ? order : `play ${write(order)}`))
    .join('\n');
  const { status, stdout, stderr } = spawnSync(program, [], {
    input: `${input}\n`,
    encoding: 'utf8',
    timeout: 20_000,
    env: {
      FLOPD_FAKE_DCMI: played,
      FLOPD_FAKE_DCMI_CALLS: join(own, 'calls'),
      LD_LIBRARY_PATH: options.library ?? join(folder, 'whole'),
      ASAN_OPTIONS: 'detect_leaks=1',
      UBSAN_OPTIONS: 'print_stacktrace=1',
    },
  });
  expect([stderr, status]).toEqual(['', 0]);
  calls = existsSync(join(own, 'calls')) ? readCalls(join(own, 'calls')) : new Map();
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line.replaceAll(',}', '}')));
}
let calls: ReadonlyMap<string, { readonly calls: number }> = new Map();

function library(name: string, without: readonly string[]): string {
  const path = join(folder, name);
  buildFake(fakeDcmi, path, without);
  return path;
}

/** What the newest of three reads (fast, second, slow) of a device holds. */
function readAll(script: readonly string[], device = 0, options: { readonly library?: string } = {}): Read {
  const answers = drive(
    script,
    ['open', 'list', `read ${device} 0`, `read ${device} 1`, `read ${device} 2`],
    options,
  );
  const reads = answers.slice(2) as Read[];
  expect(reads.map(({ outcome }) => outcome)).toEqual(['ok', 'ok', 'ok']);
  return reads[2] as Read;
}

/** What every chip answers. */
const chip = [
  'set driver 24.1.rc1',
  'device * name 910B3',
  'device * cores 20',
  'device * serial 1025C9048791',
  'device * firmware 7.1.0.7.220',
  'device * multi 61 7 57 63',
  'device * busy.3 3',
  'device * busy.4 6',
  'device * power 3311',
  'device * temperature 66',
  'device * clockRated 1800',
  'device * clock 800',
  'device * hbmSize 65536',
  'device * hbmUsed 60156',
  'device * hbmClock 1600',
  'device * hbmTemperature 62',
  'device * hbmBandwidth 12',
  'device * health 0',
  'device * ecc.2 1 1 2 30 4 0 1 5 6',
  'device * network 0',
  'device * cause 0',
  'device * rating 400000',
  'device * process 4711 1073741824',
  'device * process 4712 2147483648',
];
const chip910b3 = ['set count 1', ...chip];
const two910b3 = ['set count 2', ...chip];

describe.skipIf(!hasAsan)(hasAsan ? 'ascend' : 'ascend (skipped: no libasan)', () => {
  beforeAll(() => {
    buildFake(fakeDcmi, join(folder, 'whole'));
    const vendor = join(packageRoot, 'native/vendor');
    const sources = readdirSync(vendor).filter((name) => /^ascend.*\.c$/.test(name));
    mkdirSync(join(folder, 'sys/bus/pci/devices/0000:c1:00.0'), { recursive: true });
    writeFileSync(join(folder, 'sys/bus/pci/devices/0000:c1:00.0/numa_node'), '3\n');
    execFileSync(compiler, [
      ...['-std=gnu11', '-D_GNU_SOURCE', '-g', '-O1', '-pthread', '-Wall', '-Wextra', '-Werror'],
      ...['-fsanitize=address,undefined', '-fno-sanitize-recover', `-DASCEND_SYS_ROOT="${folder}/sys"`],
      `-I${join(packageRoot, 'native')}`,
      ...sources.map((name) => join(vendor, name)),
      join(packageRoot, 'native/dl.c'),
      fileURLToPath(new URL('ascend-harness.c', import.meta.url)),
      ...['-ldl', '-lm', '-o', program],
    ]);
  }, 120_000);
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

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

  it.each([
    [-8001, 'unsupported'],
    [-8002, 'denied'],
    [-8003, 'error'],
    [-8005, 'unsupported'],
    [-8006, 'late'],
    [-8007, 'lost'],
    [-8009, 'error'],
    [-8012, 'lost'],
    [-8013, 'unsupported'],
    [-8017, 'late'],
    [-8255, 'unsupported'],
    [-12345, 'error'],
  ])('takes %i of one call for %s, and goes on with the others', (code, reason) => {
    const script = [...chip910b3, `error dcmi_get_device_power_info ${code}`];
    expect(readAll(script).values).toMatchObject({ POWER: reason, TEMPERATURE: 66, BUSY: 0.57 });
  });

  it('takes an internal error for one where the call had worked, and for lack where it never did', () => {
    const broken = [...chip910b3, 'error dcmi_get_device_power_info -8005'];
    const [, , , , after] = drive(chip910b3, ['open', 'list', 'read 0 0', broken, 'read 0 0']) as Read[];
    expect(after?.values.POWER).toBe('error');
  });

  it('does not ask again for what can never be had', () => {
    const script = [...chip910b3, 'error dcmi_get_device_power_info -8255'];
    drive(script, ['open', 'list', ...Array.from({ length: 5 }, () => 'read 0 0')]);
    expect(calls.get('dcmi_get_device_power_info')?.calls).toBe(1);
    expect(calls.get('dcmi_get_device_temperature')?.calls).toBe(5);
  });

  it.each([
    [['gone 0'], ['deviceLost', 'deviceLost', 'deviceLost'], /the chip is gone/],
    [['error * -8002 0'], ['denied', 'denied', 'denied'], /no permission/],
    [['error * -8012 0'], ['deviceLost', 'deviceLost', 'deviceLost'], /not ready/],
    [['error * -8005 0'], ['failed', 'failed', 'failed'], /internal error/],
    [['error * -8006 0'], ['ok', 'ok', 'ok'], /did not answer in time/],
    // One failed ioctl is no proof, a row of them is.
    [['error * -8009 0'], ['failed', 'failed', 'deviceLost'], /does not reach/],
    [['error * -8005'], ['vendorLost', 'vendorLost', 'vendorLost'], /list of cards/],
  ])('says what it means when every call fails: %s', (failure, outcomes, problem) => {
    const script = two910b3;
    const orders = ['open', 'list', 'read 0 0', 'read 0 1', 'read 0 2', [...script, ...failure]];
    const after = ['read 0 0', 'read 0 1', 'read 0 0', ...(failure[0]?.endsWith(' 0') ? ['read 1 0'] : [])];
    const answers = drive(script, [...orders, ...after, script, 'list', 'read 0 0']);
    const reads = answers.slice(6, 9) as Read[];
    expect(reads.map(({ outcome }) => outcome)).toEqual(outcomes);
    expect(reads[0]?.problem).toMatch(problem);
    // Its sibling is well all the while, and it comes back by itself.
    if (after.length === 4) expect(answers[9]).toMatchObject({ outcome: 'ok', values: { BUSY: 0.57 } });
    expect(answers.at(-1)).toMatchObject({
      outcome: 'ok',
      values: { BUSY: 0.57, POWER: expect.closeTo(331.1, 9) },
    });
  });

  it('says late, not nothing, when the chip does not answer in time', () => {
    const late = [...chip910b3, 'error * -8006 0'];
    const answers = drive(chip910b3, ['open', 'list', 'read 0 0', late, 'read 0 0']);
    expect((answers[4] as Read).values).toMatchObject({ BUSY: 'late', POWER: 'late', CLOCK: 'late' });
  });

  it('lists again what it knew, with the same ids, while the driver or the chip does not answer', () => {
    const script = two910b3;
    const answers = drive(script, [
      ...[
        'open',
        'list',
        [...script, 'error * -8009 0'],
        'list',
        [...script, 'error dcmi_get_card_list -8009'],
        'list',
      ],
      ...[[...script, 'error dcmi_get_card_list -8006'], 'list', chip910b3, 'list', script, 'list'],
    ]);
    const [first, , broken, , gone, , slow, , fewer, , back] = answers.slice(1) as Listed[];
    expect(broken).toEqual(first);
    expect([gone?.outcome, slow?.outcome]).toEqual(['vendorLost', 'failed']);
    expect(fewer?.devices).toEqual(first?.devices.slice(0, 1));
    expect(back).toEqual(first);
  });

  it('keeps the id of a chip whose die was not told in the beginning, and learns the rest later', () => {
    const dumb = [...chip910b3, 'error * -8006 0'];
    const answers = drive(dumb, ['open', 'list', chip910b3, 'list', 'list']) as Listed[];
    expect(answers[1]?.devices).toMatchObject([{ id: 'npu-0-0', name: '', busId: '' }]);
    expect(answers[3]?.devices).toMatchObject([
      { id: 'npu-0-0', name: '910B3', busId: '0000:01:00.0', units: 20 },
    ]);
    expect(answers[4]).toEqual(answers[3]);
  });

  it('goes by the place on the bus where the die says nothing or is not its own', () => {
    const blank = drive([...chip910b3, 'device * die 0 0 0 0 0'], ['open', 'list'])[1] as Listed;
    expect(blank.devices[0]?.id).toBe('npu-0000:01:00.0');
    const same = drive(['set count 3', ...chip, 'device * die 1 2 3 4 5'], ['open', 'list'])[1] as Listed;
    expect(new Set(same.devices.map(({ id }) => id)).size).toBe(3);
  });

  it.each([
    ['power -1', 'POWER', 'unsupported'],
    ['power 0x7FFFFFFF', 'POWER', 'unsupported'],
    ['power 60000', 'POWER', 'error'],
    ['temperature 0x7FFF', 'TEMPERATURE', 'unsupported'],
    ['temperature -273', 'TEMPERATURE', 'error'],
    ['temperature -20', 'TEMPERATURE', -20],
    ['multi 101 7 57 63', 'ENGINE_CUBE', 'error'],
    ['multi 61 7 4294967295 63', 'BUSY', 'unsupported'],
    ['multi 61 7 0 63', 'BUSY', 0],
    ['clock 0', 'CLOCK', 'error'],
    ['clock 0xFFFF', 'CLOCK', 'unsupported'],
    ['hbmUsed 65537', 'MEMORY_USED', 'error'],
    ['hbmUsed 65535', 'MEMORY_USED', 65535 * MEBI],
    ['hbmSize 0xFFFFFFFFFFFFFFFF', 'MEMORY_TOTAL', 'error'],
    ['hbmTemperature 0x7FFF', 'MEMORY_TEMPERATURE', 'unsupported'],
    ['hbmBandwidth 500', 'MEMORY_BUSY', 'unsupported'],
    ['hbmClock 0', 'MEMORY_CLOCK', 'error'],
    ['rating 20', 'POWER_LIMIT', 'error'],
    ['ecc.2 1 0 0 65535 32767 0 0', 'ECC_CORRECTED', 65535],
    ['ecc.2 1 0 0 4294967295 0 0 0', 'ECC_CORRECTED', 'unsupported'],
    ['ecc.2 0 0 0 0 0 0 0', 'ECC_UNCORRECTED', 'unsupported'],
  ])('makes nothing of values that mean nothing: %s', (line, number, expected) => {
    const key = line.split(' ')[0] ?? '';
    const script = chip910b3.filter((each) => !each.startsWith(`device * ${key} `));
    expect(readAll([...script, `device * ${line}`]).values[number]).toBe(expected);
  });

  it('takes texts for what they are, and no more', () => {
    const long = 'x'.repeat(31);
    const { devices } = drive(
      [
        ...chip910b3,
        `device 0 name ${long}`,
        'device 0 serial NA',
        'device 0 firmware \u00e9\u00e9',
        'device 0 cores 0',
      ],
      ['open', 'list'],
    )[1] as Listed;
    expect(devices).toMatchObject([{ name: long, serial: '', firmware: '', units: null }]);
  });

  it('keeps 256 processes of a thousand, and none without a pid', () => {
    const lines = Array.from({ length: 1000 }, (_, i) => `device 0 process ${i} 4096`);
    const { processes } = readAll([...chip910b3.filter((line) => !line.includes(' process ')), ...lines]);
    expect(processes).toHaveLength(256);
    expect(processes[0]).toEqual([1, 4096]);
    const none = readAll([
      ...chip910b3.filter((line) => !line.includes(' process ')),
      'device 0 processes none',
    ]);
    expect([none.processes, none.processesAbsent]).toEqual([[], 'present']);
  });

  it('tells faults of each chip, counts what is alike, and leaves recoveries out', () => {
    const script = [...two910b3, 'device 1 logic 7'];
    const storm = [
      ...script,
      'event 1 2 0x80E18400 500',
      'event 1 258 0x80E18400',
      'event 0 1 0x80C98000',
      'event 5 3 7',
    ];
    // The store joins what came meanwhile; what comes first may come alone.
    const waits = Array.from({ length: 8 }, () => 'wait 300');
    const answers = drive(script, ['open', 'list', 'wait 1', storm, 'read 0 2', ...waits]);
    expect(answers[2]).toBeNull();
    const { devices } = answers[1] as Listed;
    const events = answers.slice(5).filter((each) => each !== null) as {
      readonly id: string;
      readonly code: number;
      readonly count: number;
      readonly detail: string;
    }[];
    const sum = (id: unknown, code: number): number =>
      events
        .filter((each) => each.id === id && each.code === code)
        .reduce((total, { count }) => total + count, 0);
    expect(sum(devices[1]?.id, 0x80e18400)).toBe(500);
    expect(sum(devices[0]?.id, 0x80c98000)).toBe(1);
    expect(sum('', 7)).toBe(1);
    expect(events[0]?.detail).toBe('severity 2: event 80e18400 of the fake');
  });

  it('subscribes once, and goes on with the events after the session was opened anew', () => {
    const event = [...chip910b3, 'event 0 2 5'];
    const orders = ['open', 'list', 'close', 'open', 'list', event, 'wait 1000', 'close'];
    expect(drive(chip910b3, orders)[6]).toMatchObject({ code: 5, count: 1 });
    expect(calls.get('dcmi_subscribe_fault_event')?.calls).toBe(1);
  });

  it('bears ten thousand events a second', () => {
    const storm = [...chip910b3, 'storm 10000 0 2 9'];
    const waits = Array.from({ length: 20 }, () => ['wait 200', 'read 0 2']).flat();
    const answers = drive(chip910b3, ['open', 'list', storm, ...waits]);
    const counts = answers
      .slice(3)
      .flatMap((each) =>
        each !== null && typeof each === 'object' && 'count' in each ? [Number(each.count)] : [],
      );
    expect(counts.length).toBeGreaterThan(10);
  });
});
