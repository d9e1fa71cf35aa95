// Layouts that a vendor's tool had before, or has since: what each of them says comes out, and what it does not say is
// absent. Fixtures are ours, in the layouts of public examples.
import { describe, expect, test } from 'vitest';
import type { ToolReading } from '../../../src/device/accelerator.ts';
import { fixture } from './scripted-runner.ts';
import { ask, forms } from './tool-forms.ts';

const MIB = 1024 * 1024;

async function read(file: string): Promise<readonly ToolReading[]> {
  const form = forms.find((each) => each.file === file);
  if (form === undefined) throw new Error(`no form ${file}`);
  const answer = await ask(form, fixture(file));
  if (typeof answer === 'string') throw new Error(answer);
  return answer;
}

/** Of each device: temperature, watts, their limit, busy share, MiB in use, MiB. */
const measured = (readings: readonly ToolReading[]): unknown[][] =>
  readings.map(({ numbers: { values } }) => [
    values.temperatureCelsius,
    values.powerWatts,
    values.powerLimitWatts,
    values.busyRatio,
    typeof values.memoryUsedBytes === 'number' ? values.memoryUsedBytes / MIB : values.memoryUsedBytes,
    typeof values.memoryTotalBytes === 'number' ? values.memoryTotalBytes / MIB : values.memoryTotalBytes,
  ]);
const conditions = (readings: readonly ToolReading[]): unknown[][] =>
  readings.map(({ conditions: found }) => found.map(({ code }) => code));
const named = (readings: readonly ToolReading[]): unknown[][] =>
  readings.map(({ index, name, busId, driverVersion }) => [index, name, busId, driverVersion]);

describe('npu-smi', () => {
  test('of the 950 has no numbers of chips, and tells how busy the NPU is', async () => {
    const readings = await read('ascend/info-950.txt');
    expect(named(readings)).toEqual([
      [0, 'Ascend950PR', '0000:A1:00.0', '25.7.9'],
      [1, 'Ascend950PR', '0000:B2:00.0', '25.7.9'],
    ]);
    expect(measured(readings)).toEqual([
      [68, 203.4, undefined, 0.97, 90123, 114600],
      [54, 191.5, undefined, 0, 5211, 131000],
    ]);
    expect(conditions(readings)).toEqual([['health-alarm'], []]);
    expect(readings.map(({ processes }) => processes)).toEqual([
      [{ pid: 45678, name: 'python3', memoryBytes: 88123 * MIB }],
      [],
    ]);
  });
});

describe('xpu_smi', () => {
  test('of version 5 tells power, temperature and errors', async () => {
    const readings = await read('kunlunxin/xpu_smi-5.txt');
    expect(named(readings)).toEqual([
      [0, 'P800 OAM', '00000000:13:00.0', '5.7.9.1'],
      [3, 'P800 OAM', '00000000:A5:00.0', '5.7.9.1'],
    ]);
    expect(measured(readings)).toEqual([
      [47, 188, 400, 0.83, 61234, 98304],
      [39, 'unsupported', 'unsupported', 0, 0, 98304],
    ]);
    expect(conditions(readings)).toEqual([[], ['ecc-uncorrected']]);
    expect(readings.map(({ processes, nodeNumber }) => [processes, nodeNumber])).toEqual([
      [[{ pid: 54321, name: 'python3 train.py', memoryBytes: 61111 * MIB }], 0],
      [[], 3],
    ]);
  });
});

describe('mx-smi', () => {
  test('of 2.2.4 has no board, and a state', async () => {
    const readings = await read('metax/mx-smi-2.2.4.txt');
    expect(named(readings)).toEqual([
      [0, 'MetaX C550', '0000:1d:00.0', '2.19.3'],
      [1, 'MetaX C550', '0000:3e:00.0', '2.19.3'],
    ]);
    expect(measured(readings)).toEqual([
      [44, 213, 450, 0.57, 41234, 65536],
      [31, 52, 'unsupported', 0, 858, 65536],
    ]);
    expect(conditions(readings)).toEqual([[], ['gpu-not-available']]);
    expect(readings.map(({ processes }) => processes?.length)).toEqual([1, 0]);
  });

  test('of 2.0 tells neither limit nor state nor processes', async () => {
    const readings = await read('metax/mx-smi-2.0.txt');
    expect(named(readings)).toEqual([[0, 'MXC500', '0000:2b:00.0', '2.1.7']]);
    expect(measured(readings)).toEqual([[36, 61, 'unsupported', 0.05, 933, 65536]]);
    expect(readings[0]).toMatchObject({ healthKnown: false, processes: null });
  });
});

test('cnmon before version 5 tells the driver of each card, and no place on the bus', async () => {
  const readings = await read('cambricon/cnmon-4.txt');
  expect(named(readings)).toEqual([
    [0, 'MLU370-X4', null, '4.20.6'],
    [1, 'MLU220-M2', null, '4.20.6'],
  ]);
  expect(readings.map(({ id }) => id)).toEqual(['card-0', 'card-1']);
  expect(measured(readings)).toEqual([
    [52, 87, 150, 0.41, 9876, 23308],
    [33, 3.75, 8.25, 0, 0, 4096],
  ]);
  expect(readings[0]?.processes).toEqual([{ pid: 12321, name: 'python3 infer.py', memoryBytes: 9500 * MIB }]);
});

test('efsmi from 1.7 on', async () => {
  const readings = await read('enflame/efsmi-1.7.txt');
  expect(named(readings)).toEqual([
    [0, 'Enflame L300', '00:3d:00.0', '1.7.9.3'],
    [1, 'Enflame L300', '00:4e:00.0', '1.7.9.3'],
  ]);
  expect(readings.map(({ serial }) => serial)).toEqual(['A098Q11112222', 'A098Q33334444']);
  expect(measured(readings)).toEqual([
    [46, 171, 300, 0.71, undefined, 147456],
    [34, 66, 300, 0, undefined, 147456],
  ]);
});

test('amd-smi that prints no JSON is asked for its table', async () => {
  const readings = await read('amd/amd-smi.txt');
  expect(named(readings)).toEqual([
    [0, 'AMD Instinct MI300X', '0000:15:00.0', '6.18.7'],
    [1, 'AMD Radeon Graphics', '0000:c6:00.0', '6.18.7'],
  ]);
  expect(measured(readings)).toEqual([
    [48, 412, 750, 0.88, 91234, 196288],
    ['unsupported', 'unsupported', 'unsupported', 'unsupported', 161, 512],
  ]);
  expect(readings.map(({ numbers: { values } }) => values.eccUncorrectedTotal)).toEqual([3, 0]);
  expect(readings.map(({ processes }) => processes)).toEqual([
    [{ pid: 34567, name: 'python3', memoryBytes: null }],
    [],
  ]);
});

test('rocm-smi that prints its options as lines', async () => {
  const readings = await read('amd/rocm-smi-lines.txt');
  expect(named(readings)).toEqual([
    [0, 'AMD Instinct MI300X OAM', '0000:27:00.0', '6.9.3'],
    [1, 'AMD Instinct MI300X OAM', '0000:47:00.0', '6.9.3'],
  ]);
  expect(readings.map(({ id }) => id)).toEqual(['GPU-1122334455667788', 'GPU-99aabbccddeeff00']);
  expect(measured(readings)).toEqual([
    [63, 613, 750, 0.97, 123456789504 / MIB, 206141652992 / MIB],
    [38, 131, 750, 0, 297611264 / MIB, 206141652992 / MIB],
  ]);
  expect(readings.map(({ numbers: { values } }) => [values.clockHertz, values.memoryClockHertz])).toEqual([
    [2077e6, 1303e6],
    [133e6, 903e6],
  ]);
});

test('the table of rocm-smi 6.0 to 6.2 has names below', async () => {
  const table = `
============ ROCm System Management Interface ============
====================== Concise Info ======================
Device  [Model : Revision]    Temp        Power     Partitions      SCLK    MCLK    Fan  Perf  PwrCap  VRAM%  GPU%
        Name (20 chars)       (Junction)  (Socket)  (Mem, Compute)
==========================================================
0       [0x74a1 : 0x00]       35.0°C      133.0W    NPS1, SPX       131Mhz  900Mhz  0%   auto  750.0W    0%   7%
        AMD Instinct MI300X
1       [0x74a1 : 0x00]       37.0°C      131.0W    NPS1, SPX       132Mhz  900Mhz  0%   auto  750.0W    0%   0%
        AMD Instinct MI300X
==========================================================
================= End of ROCm SMI Log ====================
`;
  const answer = await ask({ vendor: 'amd', tool: 'rocm-smi', file: '', args: /^$/ }, table);
  if (typeof answer === 'string') throw new Error(answer);
  expect(named(answer)).toEqual([
    [0, 'AMD Instinct MI300X', null, null],
    [1, 'AMD Instinct MI300X', null, null],
  ]);
  expect(measured(answer)[0]).toEqual([35, 133, 750, 0.07, undefined, undefined]);
});
