// The machines that the tests of NVIDIA's file play, and the harness that they are played with.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fakeNvml } from '../../fakes/vendor/build.ts';
import { type Answer, createHarness, type Harness, type ReadDevice, type Step } from './vendor-harness.ts';

const compiler = process.env.CC ?? 'cc';
const asan = spawnSync(compiler, ['-print-file-name=libasan.so'], { encoding: 'utf8' }).stdout?.trim() ?? '';
export const hasAsan = asan.startsWith('/') && existsSync(asan);

export const gib = 1024 ** 3;
export const busIds = ['00000000:65:00.0', '00000000:CA:00.0'] as const;
export const ids = [
  'GPU-11111111-2222-3333-4444-555555555555',
  'GPU-aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee',
] as const;

/** Two H100 that tell everything. */
export const machine = [
  'set count 2',
  'set driver 570.86.15',
  ...ids.flatMap((id, i) => [`device ${i} uuid ${id}`, `device ${i} busId ${busIds[i]}`]),
  ...['serial 1650123000001', 'minor 3', 'affinity 0x2'].map((each) => `device 0 ${each}`),
  ...[
    ...[
      'name NVIDIA H100 80GB HBM3',
      'vbios 96.00.89.00.01',
      'capability 9 0',
      'cores 16896',
      'maxClock 1980',
    ],
    ...['busy 29', 'memoryBusy 7', 'encoder 3', 'decoder 4', 'clock 1755', 'memoryClock 2619', 'fan 30'],
    ...[`memoryTotal ${80 * gib}`, `memoryUsed ${3 * gib}`, `memoryReserved ${gib / 2}`],
    ...['power 350123', 'powerLimit 700000', 'energy 123456789012', 'temperature 45', 'field.82 51'],
    ...['reasons 0x44', 'eccCorrected 12', 'eccUncorrected 2', 'eccUncorrectedVolatile 1'],
    ...[
      'remapPending 1',
      'remapFailed 0',
      'pagesPending 0',
      'field.230 2',
      'fabricState 3',
      'fabricStatus 0',
    ],
    ...['pcieGeneration 5', 'pcieWidth 16', 'pcieWidthMax 16', 'pcieReplays 6'],
    ...['pcieTransmit 2000', 'pcieReceive 1000', 'field.138 500', 'field.139 600', 'virtualization 0'],
    ...['process 4242 1073741824', 'process 4243 0xffffffffffffffff graphics', 'process 4242 5 graphics'],
  ].map((line) => `device * ${line}`),
  `device 0 link.0 1 ${busIds[1]}`,
  `device 0 link.1 1 ${busIds[1]}`,
  'device 0 link.2 0',
  'device 0 link.3 1 00000000:05:00.0',
];

export const gpm = [
  ...[
    'gpm 1',
    'gpm.1 90',
    'gpm.2 80.5',
    'gpm.3 25',
    'gpm.5 61.25',
    'gpm.6 1',
    'gpm.7 60',
    'gpm.8 2',
    'gpm.9 0',
  ],
  ...['gpm.10 33', 'gpm.11 4', 'gpm.12 100.2', 'gpm.20 10', 'gpm.21 20'],
].map((line) => `device * ${line}`);

export const mig = [
  'set count 1',
  'device 0 name NVIDIA A100-SXM4-40GB',
  ...['capability 8 0', 'cores 6912', 'maxClock 1410', 'migMode 1', 'instances 4'].map(
    (each) => `device 0 ${each}`,
  ),
  `device 0 busId ${busIds[0]}`,
  `device 0 memoryTotal ${40 * gib}`,
  `device 0 memoryUsed ${gib}`,
  'device 0.1 absent 1',
  ...[
    ...['0 uuid MIG-c', '0 gpuInstance 9', '0 computeInstance 0', '0 name NVIDIA A100-SXM4-40GB MIG 1g.5gb'],
    ...['2 uuid MIG-b', '2 gpuInstance 1', '2 computeInstance 1', '2 gpuSlices 3', '2 computeSlices 1'],
    ...['3 uuid MIG-a', '3 gpuInstance 1', '3 computeInstance 0', '3 gpuSlices 3', '3 computeSlices 3'],
    ...[
      '0 units 14',
      '0 memoryMib 4864',
      '2 units 14',
      '2 memoryMib 19968',
      '3 units 42',
      '3 memoryMib 19968',
    ],
    ...[`0 memoryTotal ${5 * gib}`, '0 memoryUsed 1000', '0 process 77 1000'],
    ...['0 gpm.2 50', '0 gpm.10 12.5'],
  ].map((line) => `device 0.${line}`),
  'device * gpm 1',
];

export interface NvidiaHarness {
  whole(): Harness;
  play(steps: readonly Step[], without?: readonly string[]): Answer[];
  /** What one round of all paces reads of the first device. */
  readOnce(script: readonly string[], without?: readonly string[]): ReadDevice;
  remove(): void;
}

/** Compiles when it is first used. */
export function createNvidiaHarness(): NvidiaHarness {
  let made: Harness | null = null;
  const whole = (): Harness => {
    made ??= createHarness('nvidia', fakeNvml, 'FLOPD_FAKE_NVML');
    return made;
  };
  const play = (steps: readonly Step[], without?: readonly string[]): Answer[] =>
    whole().play(steps, without);
  return {
    whole,
    play,
    readOnce: (script, without) =>
      at(play([script, 'open', 'list', 'round', 'close'], without)[2]?.devices, 0),
    remove: () => made?.remove(),
  };
}

export function at<T>(list: readonly T[] | undefined, index: number): T {
  const found = list?.[index];
  if (found === undefined) throw new Error(`nothing at ${index} of ${JSON.stringify(list)}`);
  return found;
}
