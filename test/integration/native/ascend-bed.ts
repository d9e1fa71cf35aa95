// What the tests of the vendor ascend share: its files built with AddressSanitizer and UBSan into the harness, the fake
// DCMI, and what a chip answers.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import { buildFake, fakeDcmi, readCalls } from '../../fakes/vendor/build.ts';
import { packageRoot } from './addon.ts';

export const compiler = process.env.CC ?? 'cc';
const asan = spawnSync(compiler, ['-print-file-name=libasan.so'], { encoding: 'utf8' }).stdout?.trim() ?? '';
export const hasAsan = asan.startsWith('/') && existsSync(asan);
export const folder = mkdtempSync(join(tmpdir(), 'flopd-ascend-'));
const program = join(folder, 'harness');
export const MEBI = 1048576;

export interface Device {
  readonly [key: string]: string | number | null;
}
export interface Read {
  readonly outcome: string;
  readonly problem: string;
  readonly values: Readonly<Record<string, number | string>>;
  readonly signals: Readonly<Record<string, number | null>>;
  readonly codes: readonly number[];
  readonly processes: readonly (readonly [number, number])[];
  readonly processesAbsent: string;
  readonly links: readonly (readonly [string, string, number, number])[];
}
export interface Opened {
  readonly opened: boolean;
  readonly missing: boolean;
  readonly library: string;
  readonly driverVersion: string;
  readonly problem: string;
}
export interface Listed {
  readonly outcome: string;
  readonly problem: string;
  readonly devices: readonly Device[];
}

let scripts = 0;

/** Runs orders of the harness over a first script; an order that is a list of lines is the next script. */
export function drive(
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
/** Counts of the last run. */
export let calls: ReadonlyMap<string, { readonly calls: number }> = new Map();

export function library(name: string, without: readonly string[]): string {
  const path = join(folder, name);
  buildFake(fakeDcmi, path, without);
  return path;
}

/** What the newest of three reads (fast, second, slow) of a device holds. */
export function readAll(
  script: readonly string[],
  device = 0,
  options: { readonly library?: string } = {},
): Read {
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
export const chip = [
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
export const chip910b3 = ['set count 1', ...chip];
export const two910b3 = ['set count 2', ...chip];

/** Builds harness and fake; once per file of tests, with `removeAscend` at its end. */
export function buildAscend(): void {
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
}

export const removeAscend = (): void => rmSync(folder, { recursive: true, force: true });
