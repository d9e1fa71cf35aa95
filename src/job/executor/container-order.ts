// The folder that a container job shares with its first process (native/contained/contained.c): the order goes in,
// `running` and `report` come out. All of it is the agent's own; the job sees it only where it runs as the agent's user.
import { chmodSync, constants, copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ProcessEnd } from './executor.ts';
import { errorName } from './nest.ts';
import { numberOf, parseRecord, readRecord } from './shim-files.ts';

/** Name of that folder below the attempt's. */
export const containedName = 'contained';
const lacksName = 'unlimited';

export interface ContainedOrder {
  readonly workingDirectory: string;
  readonly user: { readonly uid: number; readonly gid: number; readonly groups: readonly number[] } | null;
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
}

/** See native/contained/contained.c for the format. */
export function encodeOrder({ workingDirectory, user, command, environment }: ContainedOrder): Buffer {
  const entries = Object.entries(environment).map(([key, value]) => `${key}=${value}`);
  const groups = user?.groups ?? [];
  const fields = [
    ...['flopd-contained', '1', workingDirectory, String(user?.uid ?? ''), String(user?.gid ?? '')],
    ...[String(groups.length), ...groups.map(String)],
    ...[String(command.length), ...command, String(entries.length), ...entries],
    'end',
    '',
  ];
  return Buffer.from(fields.join('\0'));
}

/** Makes the folder, with the first process in it. Throws the system's error. */
export function writeOrder(folder: string, containedPath: string, order: ContainedOrder): void {
  const own = join(folder, containedName);
  mkdirSync(own, { recursive: true, mode: 0o700 });
  copyFileSync(containedPath, join(own, 'contained'), constants.COPYFILE_FICLONE);
  chmodSync(join(own, 'contained'), 0o500);
  writeFileSync(join(own, 'order'), encodeOrder(order), { mode: 0o600 });
}

/** Limits that the runtime does not hold, in the words of `ProcessEnd.refusedLimits`, for whoever settles the end. */
export function writeLacks(folder: string, lacks: readonly string[]): void {
  if (lacks.length === 0) return;
  writeFileSync(join(folder, lacksName), lacks.map((name) => `${name}.max: ENOTSUP\n`).join(''), {
    mode: 0o600,
  });
}

export function readLacks(folder: string): string[] {
  const text = readRecord(join(folder, lacksName)) ?? '';
  return text.split('\n').filter((line) => /^[a-z]+\.max: ENOTSUP$/.test(line));
}

/** How the program ended, as its first process tells it; without numbers that it did not know. */
export type Report = Pick<
  ProcessEnd,
  | 'exitCode'
  | 'signal'
  | 'failedStep'
  | 'errno'
  | 'cpuUserSeconds'
  | 'cpuSystemSeconds'
  | 'maxResidentBytes'
  | 'memoryPeakBytes'
  | 'processesPeak'
  | 'outOfMemory'
> & { readonly kind: 'exited' | 'signalled' | 'failedToStart'; readonly survivors: boolean };

/** Null when it is cut off, foreign or contradicts itself. */
export function parseReport(text: string): Report | null {
  const fields = parseRecord(text);
  if (fields === null || fields.get('flopd-report') !== '1') return null;
  const kind = fields.get('kind');
  if (kind !== 'exited' && kind !== 'signalled' && kind !== 'failedToStart') return null;
  const exitCode = kind === 'exited' ? numberOf(fields, 'exitCode') : null;
  const signal = kind === 'signalled' ? numberOf(fields, 'signal') : null;
  if (kind === 'exited' && (exitCode === null || exitCode > 255)) return null;
  if (kind === 'signalled' && (signal === null || signal < 1 || signal > 64)) return null;
  const ran = kind !== 'failedToStart';
  const seconds = (key: string): number | null => {
    const microseconds = ran ? numberOf(fields, key) : null;
    return microseconds === null ? null : microseconds / 1e6;
  };
  const kills = numberOf(fields, 'outOfMemoryKills');
  const errno = numberOf(fields, 'errno') ?? 0;
  return {
    kind,
    exitCode,
    signal,
    failedStep: fields.get('step') || null,
    errno: errno === 0 ? null : errorName(errno),
    cpuUserSeconds: seconds('userUs'),
    cpuSystemSeconds: seconds('systemUs'),
    maxResidentBytes: ran ? numberOf(fields, 'maxResidentBytes') : null,
    memoryPeakBytes: ran ? numberOf(fields, 'memoryPeakBytes') : null,
    processesPeak: ran ? numberOf(fields, 'processesPeak') : null,
    outOfMemory: ran && kills !== null ? { kills, firstAtMs: null } : null,
    survivors: fields.get('survivors') === '1',
  };
}

export function readReport(folder: string): Report | null {
  const text = readRecord(join(folder, containedName, 'report'));
  return text === null ? null : parseReport(text);
}

/** True when the program itself runs, or ran. */
export function hasRun(folder: string): boolean {
  const text = readRecord(join(folder, containedName, 'running'));
  return text !== null && parseRecord(text) !== null;
}
