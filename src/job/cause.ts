// The words of a cause: one sentence for a person with the evidence in it. Pure; verdict.ts puts them together.
import { constants } from 'node:os';
import type { StartOrder } from '../protocol/control.ts';
import type { OutputGap } from '../protocol/result.ts';
import type { Walled } from './book.ts';
import type { ProcessEnd } from './executor/executor.ts';

const NAME_CHARACTERS_MAX = 200;

const signalNames = new Map<number, string>();
for (const [name, number] of Object.entries(constants.signals))
  if (!signalNames.has(number)) signalNames.set(number, name);

function signalText(signal: number): string {
  const name = signalNames.get(signal);
  return name === undefined ? `signal ${signal}` : `signal ${signal} (${name})`;
}

/** `250 ms`, `1 s`, `1.5 s`. */
export function durationText(ms: number): string {
  return ms < 1000 ? `${ms} ms` : `${ms / 1000} s`;
}

const errnoText: Readonly<Record<string, string>> = {
  ENOENT: 'no such file or directory',
  EACCES: 'permission denied, or not executable',
  EISDIR: 'is a directory',
  ENOTDIR: 'a part of the path is not a directory',
  ENOEXEC: 'not a program that the kernel can run (a script needs a #! line)',
  ELOOP: 'too many symbolic links',
  ENAMETOOLONG: 'the path is too long',
  E2BIG: 'arguments and environment are too long',
  ENOMEM: 'not enough memory',
  EAGAIN: 'too many processes',
  ENOSPC: 'the disk is full',
  EROFS: 'the file system is read-only',
  EMFILE: 'too many open files',
  ETXTBSY: 'the file is being written',
  EPERM: 'operation not permitted',
};

export function clip(text: string, characters: number): string {
  return text.length <= characters ? text : `${text.slice(0, characters).replace(/[\uD800-\uDBFF]$/, '')}…`;
}

function quote(text: string): string {
  return JSON.stringify(clip(text, NAME_CHARACTERS_MAX));
}

/** What may help who misses a file that the host has. */
const UNSEEN = '; of this host it sees only what its sandbox shows (jobs.readPaths of the node)';

export function failedStartText(end: ProcessEnd, order: StartOrder | null, walled: Walled | null): string {
  const errno = end.errno ?? 'unknown error';
  const why =
    end.errno === null && end.detail !== null
      ? end.detail
      : `${errnoText[errno] ?? 'refused by the system'} (${errno})`;
  const unseen = errno === 'ENOENT' && walled?.isolation.sandbox === 'bubblewrap' ? UNSEEN : '';
  const image = order?.spec.image ?? null;
  const named = quote(order?.spec.command[0] ?? 'the program');
  const program = image === null ? named : `${named} in image ${image}`;
  switch (end.failedStep) {
    case 'exec': {
      const isPath = order?.spec.command[0]?.includes('/') === true;
      return `failed to start: ${program}: ${why}${isPath ? unseen : ''}`;
    }
    case 'interpreter':
      return `failed to start: ${program}: the interpreter that it names is missing (${errno})`;
    case 'chdir': {
      const own = order?.spec.workingDirectory ?? null;
      if (own === null) return `failed to start: its workspace: ${why}`;
      return `failed to start: working directory ${quote(own)}: ${why}${unseen}`;
    }
    case 'input':
      return `failed to start: ${why}`;
    case 'claim':
      return 'failed to start: its shim was killed before the program ran';
    case 'lease':
      return 'failed to start: the scheduler was not heard for longer than its lease before the program ran';
    case 'shim':
      return `failed to start: the job shim could not be started: ${why}`;
    case 'sandbox': {
      const memory = outOfMemoryText(end, order, walled);
      return `failed to start: its sandbox could not be set up: ${memory ?? why}`;
    }
    case 'setuid':
    case 'user':
      return `failed to start: it could not become its own user: ${why}`;
    default:
      // What has no errno says in words what it is.
      return end.errno === null && end.detail !== null
        ? `failed to start: ${end.detail}`
        : `failed to start: ${end.failedStep ?? 'start'}: ${why}`;
  }
}

export function ownEndText(end: ProcessEnd): string {
  if (end.kind === 'exited') return `exited with code ${end.exitCode}`;
  return `killed by ${signalText(end.signal ?? 0)}`;
}

/** How it was stopped, and what it did then: `(SIGTERM; SIGKILL after 10 s of grace)`. */
export function stopText(end: ProcessEnd, order: StartOrder | null): string {
  const grace = order === null ? '' : ` after ${durationText(order.spec.graceMs)} of grace`;
  const left = end.kind === 'exited' ? `; it exited with code ${end.exitCode}` : '';
  return `(SIGTERM${end.killed ? `; SIGKILL${grace}` : ''}${left})`;
}

/** `512 B`, `64.0 MiB`. */
export function bytesText(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)} ${units[unit]}`;
}

const stampText = (ms: number): string => new Date(ms).toISOString();

/** A job that comes this close to its limit died of it; further away it was the host that ran out. */
const LIMIT_REACHED_RATIO = 0.9;

/** What the kernel did for memory, or null: `the kernel killed 2 processes of it for memory (…)`. */
export function outOfMemoryText(
  end: ProcessEnd,
  order: StartOrder | null,
  walled: Walled | null,
): string | null {
  const kills = end.outOfMemory?.kills ?? 0;
  if (kills === 0) return null;
  const limitBytes = order?.spec.resources.memoryBytes ?? null;
  const peak = end.memoryPeakBytes;
  const by = walled?.limits.memory ?? 'none';
  const isLimited = limitBytes !== null && !by.startsWith('none');
  const atMs = end.outOfMemory?.firstAtMs ?? null;
  const evidence = [
    ...(peak === null ? [] : [`it used up to ${bytesText(peak)}`]),
    limitBytes === null
      ? 'it had no limit of its own'
      : `its limit was ${bytesText(limitBytes)}, held by ${by}`,
    ...(isLimited && peak !== null && peak < limitBytes * LIMIT_REACHED_RATIO
      ? ['so it was the host that ran out']
      : []),
    ...(!isLimited ? ['so it was the host that ran out'] : []),
    ...(atMs === null ? [] : [`first noticed at ${stampText(atMs)}`]),
  ];
  const processes = kills === 1 ? 'a process' : `${kills} processes`;
  return `the kernel killed ${processes} of it for memory (${evidence.join(', ')})`;
}

/** What of the output is not kept, a clause for each stream and reason, or null. */
export function gapsText(gaps: readonly OutputGap[], quotaBytes: number | null): string | null {
  const reasons: Readonly<Record<OutputGap['reason'], string>> = {
    quota:
      quotaBytes === null ? 'were cut by its quota' : `were cut by its quota of ${bytesText(quotaBytes)}`,
    disk: 'were lost: the disk of the node refused them',
    lost: 'were lost with its shim',
  };
  const sums = new Map<string, { readonly gap: OutputGap; bytes: number }>();
  for (const gap of gaps) {
    const key = `${gap.stream} ${gap.reason}`;
    const sum = sums.get(key) ?? { gap, bytes: 0 };
    sum.bytes += gap.toByte - gap.fromByte;
    sums.set(key, sum);
  }
  const clauses = [...sums.values()]
    .filter(({ bytes }) => bytes > 0)
    .map(({ gap, bytes }) => `${bytesText(bytes)} of ${gap.stream} ${reasons[gap.reason]}`);
  return clauses.length === 0 ? null : clauses.join(', ');
}

/** That and when the job was asked to save its work, or null. */
export function checkpointText(end: ProcessEnd, order: StartOrder | null): string | null {
  const checkpoint = order?.spec.checkpoint ?? null;
  if (end.checkpointAtMs === null || checkpoint === null) return null;
  return `it was sent its checkpoint signal ${checkpoint.signal} at ${stampText(end.checkpointAtMs)}`;
}

/** How long its node waited for the scheduler. */
export function leaseText(end: ProcessEnd, order: StartOrder | null): string {
  const disconnect = order?.spec.disconnect;
  const policy =
    disconnect?.policy !== 'stop'
      ? ''
      : disconnect.afterMs === 0
        ? ', as its disconnect policy asks'
        : ` for ${durationText(disconnect.afterMs)}, as its disconnect policy asks`;
  return `stopped at ${stampText(end.endedAtMs)} because its node had lost its scheduler${policy}`;
}
