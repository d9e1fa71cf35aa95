// The one result record of an attempt, from the facts of its end. Pure, and the same facts give the same record, so
// that it can be made again after a crash. The rule for states:
//
//   the executor stopped it at its time limit   TIMEOUT      whatever code it then left with
//   the executor stopped it at someone's order  CANCELLED    likewise
//   a device of it failed, and then it ended    FAILED; by itself with exit code 0: COMPLETED
//   ended by itself                             COMPLETED with exit code 0, else FAILED
//   no program ever ran                         FAILED_TO_START; CANCELLED when somebody's stop came first
//   nobody knows                                LOST
import { constants } from 'node:os';
import type { StartOrder } from '../protocol/control.ts';
import type { JobResult, KeptOutput, Usage } from '../protocol/result.ts';
import type { Granted, Stop } from './book.ts';
import type { ProcessEnd } from './executor/executor.ts';
import type { MeterReading } from './meter.ts';

const CAUSE_CHARACTERS_MAX = 1000;
const NAME_CHARACTERS_MAX = 200;

/** Energy attributed to a job, in joules, or why nobody knows it. */
export type EnergyAnswer = (
  | { readonly joules: number; readonly method?: string | undefined }
  | { readonly absent: string }
) & {
  /** What its devices did, for a job that does not count itself; absent for one without devices. */
  readonly devices?:
    | { readonly flop: number; readonly method: Usage['flopMethod'] }
    | { readonly absent: string };
};

export interface SettleFacts {
  readonly jobId: string;
  readonly epoch: number;
  readonly nodeId: string;
  /** Null when the order itself was lost by damage to the journal. */
  readonly order: StartOrder | null;
  readonly granted: Granted | null;
  readonly end: ProcessEnd;
  /** The first stop order, if there was one. */
  readonly stop: Stop | null;
  /** Null when there is no meter file; a string when it cannot be read. */
  readonly meter: MeterReading | string | null;
  /** Energy attributed to the job, or why there is none. */
  readonly energy: EnergyAnswer;
  /** What was kept of its workspace. */
  readonly outputs?: readonly KeptOutput[];
  /** Its workspace, where it lies. */
  readonly workspace?: string;
}

const signalNames = new Map<number, string>();
for (const [name, number] of Object.entries(constants.signals))
  if (!signalNames.has(number)) signalNames.set(number, name);

function signalText(signal: number): string {
  const name = signalNames.get(signal);
  return name === undefined ? `signal ${signal}` : `signal ${signal} (${name})`;
}

/** `250 ms`, `1 s`, `1.5 s`. */
function durationText(ms: number): string {
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

function clip(text: string, characters: number): string {
  return text.length <= characters ? text : `${text.slice(0, characters).replace(/[\uD800-\uDBFF]$/, '')}…`;
}

function quote(text: string): string {
  return JSON.stringify(clip(text, NAME_CHARACTERS_MAX));
}

function failedStartText(end: ProcessEnd, order: StartOrder | null): string {
  const errno = end.errno ?? 'unknown error';
  const why =
    end.errno === null && end.detail !== null
      ? end.detail
      : `${errnoText[errno] ?? 'refused by the system'} (${errno})`;
  const program = quote(order?.spec.command[0] ?? 'the program');
  switch (end.failedStep) {
    case 'exec':
      return `failed to start: ${program}: ${why}`;
    case 'interpreter':
      return `failed to start: ${program}: the interpreter that it names is missing (${errno})`;
    case 'chdir': {
      const own = order?.spec.workingDirectory ?? null;
      return `failed to start: ${own === null ? 'its workspace' : `working directory ${quote(own)}`}: ${why}`;
    }
    case 'input':
      return `failed to start: ${why}`;
    case 'claim':
      return 'failed to start: its shim was killed before the program ran';
    case 'shim':
      return `failed to start: the job shim could not be started: ${why}`;
    default:
      return `failed to start: ${end.failedStep ?? 'start'}: ${why}`;
  }
}

function ownEndText(end: ProcessEnd): string {
  if (end.kind === 'exited') return `exited with code ${end.exitCode}`;
  return `killed by ${signalText(end.signal ?? 0)}`;
}

/** How it was stopped, and what it did then: `(SIGTERM; SIGKILL after 10 s of grace)`. */
function stopText(end: ProcessEnd, order: StartOrder | null): string {
  const grace = order === null ? '' : ` after ${durationText(order.spec.graceMs)} of grace`;
  const left = end.kind === 'exited' ? `; it exited with code ${end.exitCode}` : '';
  return `(SIGTERM${end.killed ? `; SIGKILL${grace}` : ''}${left})`;
}

type Verdict = Pick<JobResult, 'state' | 'endKind' | 'stoppedBy' | 'cause'>;

function decideVerdict({ end, order, stop }: SettleFacts): Verdict {
  const asked = stop === null ? 'cancelled' : `cancelled by ${stop.by}`;
  const reason = stop === null || stop.reason === '' ? '' : `: ${stop.reason}`;
  if (end.kind === 'lost')
    return {
      state: 'LOST',
      endKind: 'lost',
      stoppedBy: null,
      cause: `lost: ${end.detail ?? 'how it ended is not known'}`,
    };
  const fault = stop?.fault ?? null;
  const failed =
    stop === null || fault === null ? null : `its device failed: ${clip(stop.reason, 500)} (${fault})`;
  if (end.kind === 'failedToStart') {
    if ((end.failedStep === 'claim' || end.failedStep === 'shim') && failed !== null)
      return {
        state: 'FAILED_TO_START',
        endKind: 'deviceFault',
        stoppedBy: 'node',
        cause: `failed to start: ${failed}`,
      };
    // No program ran, and after the stop nobody wanted one.
    if ((end.failedStep === 'claim' || end.failedStep === 'shim') && stop !== null)
      return {
        state: 'CANCELLED',
        endKind: 'stopped',
        stoppedBy: stop.by,
        cause: `${asked} before it started${reason}`,
      };
    return {
      state: 'FAILED_TO_START',
      endKind: 'failedToStart',
      stoppedBy: null,
      cause: failedStartText(end, order),
    };
  }
  const detail = end.detail === null ? '' : `; ${end.detail}`;
  if (end.stopped === 'timeLimit') {
    const limitMs = order?.spec.timeLimitMs ?? null;
    const limit = limitMs === null ? '' : ` of ${durationText(limitMs)}`;
    const cause = `stopped at its time limit${limit} ${stopText(end, order)}${detail}`;
    return { state: 'TIMEOUT', endKind: 'timeLimit', stoppedBy: 'node', cause };
  }
  if (failed !== null && end.stopped === 'stop') {
    const cause = `stopped because ${failed} ${stopText(end, order)}${detail}`;
    return { state: 'FAILED', endKind: 'deviceFault', stoppedBy: 'node', cause };
  }
  // It may have died of the fault before it could be stopped for it.
  if (failed !== null && !(end.kind === 'exited' && end.exitCode === 0)) {
    const cause = `${ownEndText(end)} when ${failed}${detail}`;
    return { state: 'FAILED', endKind: 'deviceFault', stoppedBy: null, cause };
  }
  if (end.stopped === 'stop') {
    const cause = `${asked}${clip(reason, 500)} ${stopText(end, order)}${detail}`;
    return { state: 'CANCELLED', endKind: 'stopped', stoppedBy: stop?.by ?? null, cause };
  }
  const state = end.kind === 'exited' && end.exitCode === 0 ? 'COMPLETED' : 'FAILED';
  return { state, endKind: end.kind, stoppedBy: null, cause: `${ownEndText(end)}${detail}` };
}

function usageOf({ end, order, meter, energy }: SettleFacts): Usage {
  const absent: Record<string, string> = {};
  const ran = end.kind !== 'failedToStart';
  const unknown = ran ? 'lost: the shim did not live to measure it' : 'no program ran';
  const known = (key: string, value: number | null): number | null => {
    if (value === null) absent[key] = unknown;
    return value;
  };
  const durationMs = known('durationMs', end.durationMs);
  const counted = (key: string, value: number | null): number | null => {
    if (value === null) absent[key] = ran ? 'no control group counted it' : unknown;
    return value;
  };
  const reading = typeof meter === 'object' ? meter : null;
  const devices = ran ? (energy.devices ?? null) : null;
  const byDevices = reading?.flop == null && devices !== null && 'flop' in devices ? devices : null;
  const flop = reading?.flop ?? byDevices?.flop ?? null;
  if (flop === null) {
    const unreported = devices !== null && 'absent' in devices ? `, and ${devices.absent}` : '';
    absent.flop =
      typeof meter === 'string'
        ? meter
        : (reading?.problem ?? (ran ? `not reported by the job${unreported}` : unknown));
  }
  if (reading !== null && reading.flop !== null && reading.problem !== null)
    absent.meter = clip(reading.problem, 250);
  const seconds = reading?.seconds ?? (durationMs === null ? null : durationMs / 1000);
  const ratio = flop === null || seconds === null || seconds <= 0 ? Number.NaN : flop / seconds;
  if (!Number.isFinite(ratio))
    absent.achievedFlops = flop === null ? (absent.flop ?? unknown) : 'its compute time is not known';
  const held = order?.devices.length ?? null;
  const deviceSeconds =
    held === 0 ? 0 : held === null || durationMs === null ? null : (held * durationMs) / 1000;
  if (deviceSeconds === null) absent.deviceSeconds = unknown;
  const joules = 'joules' in energy ? energy.joules : null;
  if ('absent' in energy) absent.energyJoules = energy.absent;
  for (const key of Object.keys(absent)) absent[key] = clip(absent[key] ?? '', 250);
  return {
    durationMs,
    cpuUserSeconds: known('cpuUserSeconds', end.cpuUserSeconds),
    cpuSystemSeconds: known('cpuSystemSeconds', end.cpuSystemSeconds),
    maxResidentBytes: known('maxResidentBytes', end.maxResidentBytes),
    memoryPeakBytes: counted('memoryPeakBytes', end.memoryPeakBytes),
    processesPeak: counted('processesPeak', end.processesPeak),
    deviceSeconds,
    energyJoules: joules,
    energyMethod: 'joules' in energy ? (energy.method ?? null) : null,
    flop,
    achievedFlops: Number.isFinite(ratio) ? ratio : null,
    flopMethod: flop === null ? null : byDevices === null ? 'job' : byDevices.method,
    absent,
  };
}

function keptWorkspace(
  { order, end, workspace }: SettleFacts,
  state: JobResult['state'],
): JobResult['workspace'] {
  if (order === null || workspace === undefined) return null;
  const { when, forMs } = order.spec.keepWorkspace;
  const keeps = when === 'always' || (when === 'failed' && state !== 'COMPLETED');
  return keeps && forMs > 0 ? { path: workspace, untilMs: end.endedAtMs + forMs } : null;
}

export function settleJob(facts: SettleFacts): JobResult {
  const { end, order } = facts;
  const verdict = decideVerdict(facts);
  const limits: Record<string, string> = { cpus: 'none', memory: 'none' };
  if (facts.granted !== null) limits.devices = 'environment';
  if (order !== null && order.spec.timeLimitMs !== null) limits.timeLimit = 'shim';
  return {
    version: 1,
    jobId: facts.jobId,
    epoch: facts.epoch,
    nodeId: facts.nodeId,
    ...verdict,
    cause: clip(verdict.cause, CAUSE_CHARACTERS_MAX),
    exitCode: end.exitCode,
    signal: end.signal,
    startedAtMs: end.startedAtMs,
    endedAtMs: end.endedAtMs,
    usage: usageOf(facts),
    limits,
    isolation: {},
    outOfMemory: end.outOfMemory,
    gaps: [...end.gaps],
    outputs: [...(facts.outputs ?? [])],
    workspace: keptWorkspace(facts, verdict.state),
    stdoutBytes: end.stdoutBytes,
    stderrBytes: end.stderrBytes,
  };
}
