// The files through which agent and shim speak; formats are described in native/shim/shim.c and record.c. Encoders
// and parsers are pure; a record that is not complete is absent.
import { closeSync, constants, fstatSync, lstatSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { errnoOf } from '../../base/fault.ts';
import { jobFile, type ProcessEnd, type StartRequest } from './executor.ts';
import { errorName } from './nest.ts';

/** Largest record that is read; the shim writes under 2 KiB. */
const RECORD_BYTES_MAX = 8192;

export const shimFile = { spec: 'spec', started: 'started', end: 'end', control: 'control' } as const;

/** The order for the shim. `announce` is the agent's socket, relative to the folder. */
export function encodeSpec(name: string, announce: string, request: StartRequest): Buffer {
  const { spec } = request;
  const environment = Object.entries(request.environment);
  const fields = ['flopd-spec', '1', name, announce];
  fields.push(
    spec.timeLimitMs === null ? '' : String(spec.timeLimitMs),
    String(spec.graceMs),
    request.workingDirectory,
  );
  fields.push(String(spec.command.length), ...spec.command, String(environment.length));
  for (const [key, value] of environment) fields.push(`${key}=${value}`);
  fields.push('end', '');
  return Buffer.from(fields.join('\0'));
}

export interface StartedRecord {
  readonly pid: number;
  readonly bootId: string;
  readonly startedAtMs: number;
}

function parseRecord(text: string): Map<string, string> | null {
  if (!text.endsWith('\ncomplete=1\n')) return null;
  const fields = new Map<string, string>();
  for (const line of text.split('\n')) {
    const at = line.indexOf('=');
    if (at > 0) fields.set(line.slice(0, at), line.slice(at + 1));
  }
  return fields;
}

function numberOf(fields: Map<string, string>, key: string): number | null {
  const text = fields.get(key);
  if (text === undefined || text === '') return null;
  const value = Number(text);
  return Number.isSafeInteger(value) && value >= 0 ? value : null;
}

const perSecond = (microseconds: number | null): number | null =>
  microseconds === null ? null : microseconds / 1e6;

function detailOf(fields: Map<string, string>): string | null {
  const parts: string[] = [];
  const said = fields.get('detail') ?? '';
  if (said !== '') parts.push(said);
  const survivors = numberOf(fields, 'survivors') ?? 0;
  if (survivors > 0) parts.push(`${survivors} of its processes could not be ended`);
  const lost = numberOf(fields, 'lostOutputBytes') ?? 0;
  if (lost > 0)
    parts.push(
      `its last ${lost} bytes of output were not stored (${errorName(numberOf(fields, 'outputErrno') || 5)})`,
    );
  return parts.length === 0 ? null : parts.join('; ');
}

/** The end record, or null when it is cut off, foreign or contradicts itself. */
export function parseEnd(text: string): ProcessEnd | null {
  const fields = parseRecord(text);
  if (fields === null || fields.get('flopd-end') !== '1') return null;
  const kind = fields.get('kind');
  const endedAtMs = numberOf(fields, 'endedAtMs');
  if (kind !== 'exited' && kind !== 'signalled' && kind !== 'failedToStart' && kind !== 'lost') return null;
  const exitCode = kind === 'exited' ? numberOf(fields, 'exitCode') : null;
  const signal = kind === 'signalled' ? numberOf(fields, 'signal') : null;
  const stdoutBytes = numberOf(fields, 'stdoutBytes');
  const stderrBytes = numberOf(fields, 'stderrBytes');
  if (stdoutBytes === null || stderrBytes === null) return null;
  if (
    endedAtMs === null ||
    (kind === 'exited' && exitCode === null) ||
    (kind === 'signalled' && signal === null)
  )
    return null;
  const stopped = fields.get('stopped');
  const errno = numberOf(fields, 'errno') ?? 0;
  const durationUs = numberOf(fields, 'durationUs');
  const ran = kind !== 'failedToStart';
  return {
    kind,
    exitCode,
    signal,
    stopped: stopped === 'timeLimit' || stopped === 'stop' ? stopped : null,
    killed: fields.get('killed') === '1',
    failedStep: fields.get('failedStep') || null,
    errno: errno === 0 ? null : errorName(errno),
    startedAtMs: numberOf(fields, 'startedAtMs'),
    endedAtMs,
    durationMs: durationUs === null ? null : durationUs / 1000,
    cpuUserSeconds: ran ? perSecond(numberOf(fields, 'userUs')) : null,
    cpuSystemSeconds: ran ? perSecond(numberOf(fields, 'systemUs')) : null,
    maxResidentBytes: ran ? numberOf(fields, 'maxResidentBytes') : null,
    memoryPeakBytes: null,
    processesPeak: null,
    outOfMemory: null,
    refusedLimits: [],
    gaps: [],
    checkpointAtMs: null,
    stdoutBytes,
    stderrBytes,
    detail: detailOf(fields),
  };
}

export function parseStarted(text: string): StartedRecord | null {
  const fields = parseRecord(text);
  if (fields === null || fields.get('flopd-started') !== '1') return null;
  const pid = numberOf(fields, 'pid');
  const startedAtMs = numberOf(fields, 'wallMs');
  if (pid === null || pid === 0 || startedAtMs === null) return null;
  return { pid, bootId: fields.get('bootId') ?? '', startedAtMs };
}

/** Reads a small record; null when it is missing. Never follows a link and never waits at a pipe. */
function readRecord(path: string): string | null {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null;
    throw error;
  }
  try {
    if (!fstatSync(fd).isFile()) return null;
    const bytes = Buffer.allocUnsafe(RECORD_BYTES_MAX);
    return bytes.toString('utf8', 0, readSync(fd, bytes, 0, RECORD_BYTES_MAX, 0));
  } finally {
    closeSync(fd);
  }
}

export function readEnd(folder: string): ProcessEnd | null {
  const text = readRecord(join(folder, shimFile.end));
  return text === null ? null : parseEnd(text);
}

export function readStarted(folder: string): StartedRecord | null {
  const text = readRecord(join(folder, shimFile.started));
  return text === null ? null : parseStarted(text);
}

/** Sizes of the stored output; a stream without output has no file. */
export function storedBytes(folder: string): { stdoutBytes: number; stderrBytes: number } {
  const size = (name: string): number => lstatSync(join(folder, name), { throwIfNoEntry: false })?.size ?? 0;
  return { stdoutBytes: size(jobFile.stdout), stderrBytes: size(jobFile.stderr) };
}

/**
 * Makes sure that the attempt never starts: creates `started`, which the job's process would have to create.
 * False when it has been created before, so that something may have run.
 */
export function claimNeverStarted(folder: string): boolean {
  try {
    closeSync(openSync(join(folder, shimFile.started), 'wx', 0o600));
    return true;
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return false;
    throw error;
  }
}
