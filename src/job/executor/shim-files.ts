// The files through which agent and shim speak; formats are described in native/shim/shim.c and record.c. Encoders
// and parsers are pure; a record that is not complete is absent.
import { closeSync, constants as fsConstants, fstatSync, lstatSync, openSync, readSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { errnoOf } from '../../base/fault.ts';
import type { OutputGap } from '../../protocol/result.ts';
import { jobFile, type ProcessEnd, type StartRequest, type Survivors } from './executor.ts';
import { errorName } from './nest.ts';

/** Largest record that is read; the shim writes under 2 KiB. */
const RECORD_BYTES_MAX = 8192;

export const shimFile = { spec: 'spec', started: 'started', end: 'end', control: 'control' } as const;

/** The order for the shim, version 2. `announce` is the agent's socket, relative to the folder. */
export function encodeSpec(name: string, announce: string, request: StartRequest): Buffer {
  const { spec, containment } = request;
  const fields = ['flopd-spec', '2'];
  const section = (title: string, values: readonly (string | number)[]): void => {
    fields.push(title, String(values.length), ...values.map(String));
  };
  const given = (title: string, value: number | null): void => {
    if (value !== null) section(title, [value]);
  };
  section('name', [name]);
  section('announce', [announce]);
  section('cwd', [request.workingDirectory]);
  section('argv', spec.command);
  section('env', pairsOf(request.environment));
  section('grace-ms', [spec.graceMs]);
  given('time-limit-ms', spec.timeLimitMs);
  given('output-quota', request.outputQuotaBytes);
  given('lease-ms', request.leaseMs);
  if (spec.checkpoint !== null)
    section('checkpoint', [constants.signals[spec.checkpoint.signal], spec.checkpoint.beforeMs]);
  const { user, wrap, filtered, cgroups, rlimits } = containment;
  if (user !== null) section('user', [user.uid, user.gid, ...user.groups]);
  if (wrap.length > 0) section('wrap', wrap);
  if (filtered) section('filter', [1]);
  for (const { folder, version, controllers, settings } of cgroups)
    section('cgroup', [folder, version, controllers.join(','), ...settings.flat()]);
  section('rlimits', Object.entries(rlimits).flat());
  for (const { command, outputFile, timeoutMs, environment } of request.after)
    section('after', [timeoutMs, outputFile ?? '', command.length, ...command, ...pairsOf(environment)]);
  if (request.client !== null) {
    section('client', request.client.beside);
    section('client-terminal', request.client.besideTerminal);
  }
  fields.push('end', '');
  return Buffer.from(fields.join('\0'));
}

const pairsOf = (environment: Readonly<Record<string, string>>): string[] =>
  Object.entries(environment).map(([key, value]) => `${key}=${value}`);

export interface StartedRecord {
  readonly pid: number;
  readonly bootId: string;
  readonly startedAtMs: number;
}

export interface RecordFields extends ReadonlyMap<string, string> {
  /** Values of keys that may stand on several lines. */
  readonly repeated: (key: string) => readonly string[];
}

export function parseRecord(text: string): RecordFields | null {
  if (!text.endsWith('\ncomplete=1\n')) return null;
  const lines = text.split('\n');
  const fields = new Map<string, string>();
  for (const line of lines) {
    const at = line.indexOf('=');
    if (at > 0) fields.set(line.slice(0, at), line.slice(at + 1));
  }
  const repeated = (key: string): string[] =>
    lines.filter((line) => line.startsWith(`${key}=`)).map((line) => line.slice(key.length + 1));
  return Object.assign(fields, { repeated });
}

/** What the protocol takes. */
const GAPS_MAX = 64;
const EXIT_CODE_MAX = 255;
const SIGNAL_MAX = 64;
/** Furthest stamp that a Date can show. */
const STAMP_MAX = 8.64e15;
const GAP = /^(stdout|stderr) (quota|disk|lost) (\d+) (\d+)$/;

function gapsOf(fields: RecordFields): OutputGap[] {
  const gaps: OutputGap[] = [];
  for (const line of fields.repeated('gap')) {
    const [, stream, reason, from, to] = GAP.exec(line) ?? [];
    const [fromByte, toByte] = [Number(from), Number(to)];
    if (stream === undefined || !Number.isSafeInteger(toByte) || fromByte > toByte) continue;
    if (gaps.length === GAPS_MAX) break;
    gaps.push({
      stream: stream as OutputGap['stream'],
      fromByte,
      toByte,
      reason: reason as OutputGap['reason'],
    });
  }
  return gaps;
}

/** `memory.max 13` -> `memory.max: EACCES`; 0 for a setting that had another value when it was read back. */
function refusalsOf(fields: RecordFields): string[] {
  return fields.repeated('refused').map((line) => {
    const at = line.lastIndexOf(' ');
    const errno = Number(line.slice(at + 1));
    return `${line.slice(0, at)}: ${errno === 0 ? 'changed meanwhile' : errorName(errno)}`;
  });
}

export function numberOf(fields: ReadonlyMap<string, string>, key: string): number | null {
  const text = fields.get(key);
  if (text === undefined || text === '') return null;
  const value = Number(text);
  return Number.isSafeInteger(value) && value >= 0 ? value : null;
}

/** A stamp in ms since 1970. */
function stampOf(fields: ReadonlyMap<string, string>, key: string): number | null {
  const value = numberOf(fields, key);
  return value === null || value > STAMP_MAX ? null : value;
}

const perSecond = (microseconds: number | null): number | null =>
  microseconds === null ? null : microseconds / 1e6;

function survivorsOf(fields: ReadonlyMap<string, string>): Survivors | null {
  const count = numberOf(fields, 'survivors') ?? 0;
  const shimPid = numberOf(fields, 'shimPid');
  const shimStartTicks = numberOf(fields, 'shimStartTime');
  return count === 0 || shimPid === null || shimStartTicks === null
    ? null
    : { count, shimPid, shimStartTicks };
}

function detailOf(fields: RecordFields): string | null {
  const parts: string[] = [];
  const said = fields.get('detail') ?? '';
  if (said !== '') parts.push(said);
  const survivors = numberOf(fields, 'survivors') ?? 0;
  if (survivors > 0) parts.push(`${survivors} of its processes could not be ended`);
  const onDisk = gapsOf(fields).filter(({ reason }) => reason === 'disk');
  const beforeGaps = numberOf(fields, 'lostOutputBytes') ?? 0; // of a shim that did not tell gaps yet
  const lost = onDisk.reduce((sum, { fromByte, toByte }) => sum + toByte - fromByte, beforeGaps);
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
  const endedAtMs = stampOf(fields, 'endedAtMs');
  if (kind !== 'exited' && kind !== 'signalled' && kind !== 'failedToStart' && kind !== 'lost') return null;
  const exitCode = kind === 'exited' ? numberOf(fields, 'exitCode') : null;
  const signal = kind === 'signalled' ? numberOf(fields, 'signal') : null;
  const stdoutBytes = numberOf(fields, 'stdoutBytes');
  const stderrBytes = numberOf(fields, 'stderrBytes');
  if (stdoutBytes === null || stderrBytes === null) return null;
  if (
    endedAtMs === null ||
    (kind === 'exited' && (exitCode === null || exitCode > EXIT_CODE_MAX)) ||
    (kind === 'signalled' && (signal === null || signal === 0 || signal > SIGNAL_MAX))
  )
    return null;
  const stopped = fields.get('stopped');
  const errno = numberOf(fields, 'errno') ?? 0;
  const durationUs = numberOf(fields, 'durationUs');
  const ran = kind !== 'failedToStart';
  const oomKills = numberOf(fields, 'oomKills');
  return {
    kind,
    exitCode,
    signal,
    stopped: stopped === 'timeLimit' || stopped === 'lease' || stopped === 'stop' ? stopped : null,
    killed: fields.get('killed') === '1',
    failedStep: fields.get('failedStep') || null,
    errno: errno === 0 ? null : errorName(errno),
    startedAtMs: stampOf(fields, 'startedAtMs'),
    endedAtMs,
    durationMs: durationUs === null ? null : durationUs / 1000,
    cpuUserSeconds: ran ? perSecond(numberOf(fields, 'userUs')) : null,
    cpuSystemSeconds: ran ? perSecond(numberOf(fields, 'systemUs')) : null,
    maxResidentBytes: ran ? numberOf(fields, 'maxResidentBytes') : null,
    memoryPeakBytes: numberOf(fields, 'memoryPeakBytes'),
    processesPeak: numberOf(fields, 'processesPeak'),
    outOfMemory: oomKills === null ? null : { kills: oomKills, firstAtMs: stampOf(fields, 'oomAtMs') },
    refusedLimits: refusalsOf(fields),
    gaps: gapsOf(fields),
    survivors: survivorsOf(fields),
    checkpointAtMs: stampOf(fields, 'checkpointAtMs'),
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

/** Reads a small record; null when it is missing. Never follows a link unless told to, and never waits at a pipe. */
export function readRecord(path: string, links: number = fsConstants.O_NOFOLLOW): string | null {
  let fd: number;
  try {
    fd = openSync(path, fsConstants.O_RDONLY | links | fsConstants.O_NONBLOCK);
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

/** The end record that a shim holds in memory for a disk that refuses it; null when it cannot be read. */
export function readOfferedEnd(path: string): ProcessEnd | null {
  try {
    return parseEnd(readRecord(path, 0) ?? '');
  } catch {
    return null; // The shim goes on trying the disk, and says `ended` when that worked.
  }
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
