// What an executor is: it turns a granted start order into a running job that outlives this process, and finds it
// again. It decides no policy, retries nothing and parses no wire bytes. Facts about an end come only from here.
import type { JobSpec } from '../../protocol/spec.ts';

/** A granted order, ready to start. */
export interface StartRequest {
  readonly jobId: string;
  readonly epoch: number;
  readonly spec: JobSpec;
  /** Folder of this attempt; exists, empty, mode 0700. Everything the executor writes goes below it. */
  readonly folder: string;
  /** Complete environment of the job. */
  readonly environment: Readonly<Record<string, string>>;
  readonly workingDirectory: string;
  /** Absolute paths of the device nodes that it may open; an executor that cannot hold it to them leaves them be. */
  readonly deviceNodes: readonly string[];
  /** The kernel's boot id at present. */
  readonly bootId: string;
}

/** An attempt that an earlier agent process took on. */
export interface RecoverRequest {
  readonly jobId: string;
  readonly epoch: number;
  readonly folder: string;
  readonly bootId: string;
  /** Boot id at the time of the order; null where that is not known any more. */
  readonly acceptedBootId: string | null;
  /** With it the attempt is started now if it never was; null forbids that. */
  readonly start: StartRequest | null;
}

/** How the job's process ended, as the kernel told the shim. */
export interface ProcessEnd {
  readonly kind: 'exited' | 'signalled' | 'failedToStart' | 'lost';
  readonly exitCode: number | null;
  readonly signal: number | null;
  /** Why the executor stopped it, if it did: its time limit, or `stop`. */
  readonly stopped: 'timeLimit' | 'stop' | null;
  /** True when SIGTERM was not enough. */
  readonly killed: boolean;
  /** Of a failed start: which step (`chdir`, `exec`, …; `claim` when it was never begun) and errno name (`ENOENT`). */
  readonly failedStep: string | null;
  readonly errno: string | null;
  readonly startedAtMs: number | null;
  readonly endedAtMs: number;
  readonly durationMs: number | null;
  readonly cpuUserSeconds: number | null;
  readonly cpuSystemSeconds: number | null;
  readonly maxResidentBytes: number | null;
  readonly stdoutBytes: number;
  readonly stderrBytes: number;
  /** What else a person must know, a clause: why it is lost, output that a full disk refused, processes left over. */
  readonly detail: string | null;
}

/** An end of which nothing is known but when it was noticed. */
export const unknownEnd: Omit<ProcessEnd, 'endedAtMs'> = {
  kind: 'lost',
  exitCode: null,
  signal: null,
  stopped: null,
  killed: false,
  failedStep: null,
  errno: null,
  startedAtMs: null,
  durationMs: null,
  cpuUserSeconds: null,
  cpuSystemSeconds: null,
  maxResidentBytes: null,
  stdoutBytes: 0,
  stderrBytes: 0,
  detail: null,
};

/** What a running job tells; each is called at most once, but for `output`. */
export interface ExecutionEvents {
  /** The program runs (exec succeeded). */
  started(pid: number, startedAtMs: number): void;
  /** Output files have grown to these sizes. */
  output(stdoutBytes: number, stderrBytes: number): void;
  /** Final. Called exactly once, after the last `output`. */
  ended(end: ProcessEnd): void;
}

export interface Execution {
  /** Asks the job to end: SIGTERM, after `graceMs` SIGKILL to all that is left. Safe to repeat; never throws. */
  stop(graceMs: number): void;
  /** Forgets the job without touching it, when the agent itself stops. */
  detach(): void;
}

export interface Executor {
  readonly name: string;
  /** Why it cannot work on this host, in words with the remedy, or null. */
  probe(): string | null;
  /** Starts the job. A failure to start is told through `events.ended`, never thrown. */
  start(request: StartRequest, events: ExecutionEvents): Execution;
  /**
   * Takes up an attempt again, by its folder. Same events, as far as they are still to come. What never began is
   * started exactly once if `request.start` is given, and otherwise ends as `failedToStart` at step `claim`.
   */
  recover(request: RecoverRequest, events: ExecutionEvents): Execution;
  /** Closes what it keeps open; jobs run on. */
  close(): void;
}

/** Names of the files in a job's folder that others read. */
export const jobFile = {
  stdout: 'stdout',
  stderr: 'stderr',
  workspace: 'workspace',
  meter: 'meter',
} as const;
