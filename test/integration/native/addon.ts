// What the tests of the addon share: the addon itself, copied pseudo file systems, and an open reader.
import { closeSync, ftruncateSync, mkdirSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  loadNative,
  type Native,
  nativePaths,
  type ReaderOptions,
  windowHeader,
} from '../../../src/native.ts';
import {
  type AbsentReason,
  absentReasons,
  statistic,
  windowStatistics,
} from '../../../src/protocol/columns.ts';

export const packageRoot = fileURLToPath(new URL('../../..', import.meta.url));
export const paths = nativePaths(packageRoot);
const loaded = loadNative(paths.addon);

/** Tests are skipped under a name that says why. */
export const isBuilt = loaded.native !== null;
export const title = (name: string): string => (isBuilt ? name : `${name} (skipped: the addon is not built)`);

export function addon(): Native {
  if (loaded.native === null) throw new Error(loaded.problem ?? 'no addon');
  return loaded.native;
}

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Polls until `check` gives something other than null or false; fails after `timeoutMs`. */
export async function until<T>(check: () => T | null | false, timeoutMs = 30_000): Promise<T> {
  for (const end = performance.now() + timeoutMs; ; await sleep(10)) {
    const result = check();
    if (result !== null && result !== false) return result;
    if (performance.now() > end) throw new Error(`not so within ${timeoutMs} ms: ${check}`);
  }
}

export interface Tree {
  readonly folder: string;
  readonly proc: string;
  readonly sys: string;
  /** Writes a file below the tree in place, so that an open descriptor sees it and never an empty text. */
  write(path: string, text: string | Uint8Array): void;
  remove(): void;
}

export function createTree(files: Readonly<Record<string, string>> = {}): Tree {
  const folder = mkdtempSync(join(tmpdir(), 'flopd-native-'));
  const tree: Tree = {
    folder,
    proc: join(folder, 'proc'),
    sys: join(folder, 'sys'),
    write(path, text) {
      const whole = join(folder, path);
      mkdirSync(dirname(whole), { recursive: true });
      const bytes = typeof text === 'string' ? Buffer.from(text) : text;
      const fd = openSync(whole, 'a+');
      closeSync(fd);
      const inPlace = openSync(whole, 'r+');
      writeSync(inPlace, bytes, 0, bytes.length, 0);
      ftruncateSync(inPlace, bytes.length);
      closeSync(inPlace);
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
  mkdirSync(tree.proc, { recursive: true });
  mkdirSync(tree.sys, { recursive: true });
  for (const [path, text] of Object.entries(files)) tree.write(path, text);
  return tree;
}

export interface Taken {
  readonly generation: number;
  readonly sequence: number;
  readonly ticks: number;
  readonly startNs: number;
  readonly endNs: number;
  readonly busyNs: number;
  readonly lateTicks: number;
  readonly deviceRevision: number;
  readonly keys: readonly string[];
  /** `family` or `family{label}`; of a device, with ` @` and its number behind. */
  min(key: string): number;
  mean(key: string): number;
  max(key: string): number;
  last(key: string): number;
  reason(key: string): AbsentReason;
}

/** An open reader that follows generations. */
export interface OpenReader {
  take(): Taken;
  /** Takes windows until one satisfies `check`. */
  takeUntil(check: (taken: Taken) => boolean): Promise<Taken>;
  close(): void;
}

export function openReader(
  tree: { proc: string; sys: string },
  periodMs = 10,
  native = addon(),
  more: Pick<ReaderOptions, 'vendors' | 'kernelLog'> = {},
): OpenReader {
  native.openReader({ procRoot: tree.proc, sysRoot: tree.sys, periodMs, ...more });
  const header = new Float64Array(windowHeader.length);
  let keys: string[] = [];
  let values = new Float64Array(0);
  let reasons = new Uint8Array(0);
  const learn = (): void => {
    keys = native.readerColumns().map(({ family, label, device }) => {
      const name = label === null ? family : `${family}{${label}}`;
      return device === null ? name : `${name} @${device}`;
    });
    values = new Float64Array(keys.length * windowStatistics);
    reasons = new Uint8Array(keys.length);
  };
  const take = (): Taken => {
    for (let attempt = 0; ; attempt++) {
      values.fill(-1);
      const count = native.takeWindow(header, values, reasons);
      const isWritten = count === keys.length && (count === 0 || values[statistic.last] !== -1);
      if (isWritten) break;
      if (attempt === 3) throw new Error('the reader does not write windows');
      learn();
    }
    const own = { keys, values: values.slice(), reasons: reasons.slice(), header: header.slice() };
    const at = (key: string): number => {
      const index = own.keys.indexOf(key);
      if (index < 0) throw new Error(`no column ${key} among ${own.keys.join(' ')}`);
      return index;
    };
    const value = (key: string, which: number): number =>
      own.values[at(key) * windowStatistics + which] ?? Number.NaN;
    const field = (index: number): number => own.header[index] ?? Number.NaN;
    return {
      generation: field(windowHeader.generation),
      sequence: field(windowHeader.sequence),
      ticks: field(windowHeader.ticks),
      startNs: field(windowHeader.startNs),
      endNs: field(windowHeader.endNs),
      busyNs: field(windowHeader.busyNs),
      lateTicks: field(windowHeader.lateTicks),
      deviceRevision: field(windowHeader.deviceRevision),
      keys: own.keys,
      min: (key) => value(key, statistic.min),
      mean: (key) => value(key, statistic.mean),
      max: (key) => value(key, statistic.max),
      last: (key) => value(key, statistic.last),
      reason: (key) => absentReasons[own.reasons[at(key)] ?? -1] ?? 'error',
    };
  };
  learn();
  return {
    take,
    takeUntil: (check) =>
      until(() => {
        const taken = take();
        return check(taken) ? taken : null;
      }),
    close: () => native.closeReader(),
  };
}

export const stat = (total: string, ...cores: string[]): string =>
  `cpu  ${total}\n${cores.map((core, i) => `cpu${i} ${core}\n`).join('')}` +
  'intr 21 0 0\nctxt 12345\nbtime 1\nprocesses 9\nprocs_running 3\nprocs_blocked 2\nsoftirq 1 2\n';
