// What an executor is: it turns a granted start order into a running job that outlives this process, and finds it
// again. It decides no policy, retries nothing and parses no wire bytes. Facts about an end come only from here.
import type { OutputGap } from '../../protocol/result.ts';
import type { JobSpec } from '../../protocol/spec.ts';

/** A control group for one attempt: made by its shim, which puts the job in, reads its counters and removes it. */
export interface CgroupPlan {
  /** Absolute; the folder above it exists. */
  readonly folder: string;
  readonly version: 1 | 2;
  /** Controllers that act in it, by their kernel names: `memory`, `pids`, `cpu`, `cpuacct`, `io`, `blkio`, … */
  readonly controllers: readonly string[];
  /** Files in it and what is written to each, in this order, before the job is put in. */
  readonly settings: readonly (readonly [file: string, value: string])[];
}

/** How a job is walled in and limited. Data: decided before the start (job/containment/), carried out by the shim. */
export interface Containment {
  /**
   * User that the job runs as; null for the agent's own. The shim gives it the folder `workspace` itself (not what
   * lies in it) and the file `meter`, which it makes. Without `wrap` that user must be able to pass the folders above.
   */
  readonly user: { readonly uid: number; readonly gid: number; readonly groups: readonly number[] } | null;
  /**
   * Sandbox program (absolute) and arguments that the job is started through, up to and including `--`; empty for
   * none. It runs with an empty environment, as the agent's user, and starts the shim's own `--init` through a
   * descriptor: nothing of flopd needs to be visible inside, but there must be a /proc. As root it needs CAP_SETUID,
   * CAP_SETGID and CAP_SETPCAP inside (bwrap keeps all unless told otherwise): init gives up all of them, becomes the
   * user, changes to the working directory and starts the job. bwrap: with --unshare-pid also --as-pid-1; it makes folders
   * above a mount point with mode 0700, where the user does not get through: make them first (--perms 0755 --dir).
   */
  readonly wrap: readonly string[];
  /** System calls that no job needs are refused to it (native/shim/filter.c). */
  readonly filtered: boolean;
  readonly cgroups: readonly CgroupPlan[];
  /** By name without RLIMIT_ (`NOFILE`), hard and soft alike, in the kernel's units. */
  readonly rlimits: Readonly<Record<string, number>>;
  /** Which mechanism holds which limit and which wall, for the result (`JobResult.limits`, `.isolation`). */
  readonly limits: Readonly<Record<string, string>>;
  readonly isolation: Readonly<Record<string, string>>;
}

export const noContainment: Containment = {
  user: null,
  wrap: [],
  filtered: false,
  cgroups: [],
  rlimits: {},
  limits: {},
  isolation: {},
};

/** A program that the shim runs, as the agent's user, when the job has ended and before the end is recorded. */
export interface AfterCommand {
  readonly command: readonly string[];
  /** File of the attempt's folder that takes its standard output; null to drop it. */
  readonly outputFile: string | null;
  readonly timeoutMs: number;
  /** All of its environment. */
  readonly environment: Readonly<Record<string, string>>;
}

/** What an executor with a runtime of its own must know of the devices that a job was granted (`Granted`). */
export interface DeviceAccess {
  readonly environment: Readonly<Record<string, string>>;
  readonly nodesUnknown?: boolean | undefined;
  readonly cdiNames?: readonly (readonly string[])[] | undefined;
  readonly hostCounted?: readonly string[] | undefined;
}

/**
 * The command is not the job but a client of what holds the job: SIGTERM goes to it alone, it keeps the agent's
 * privileges, and what else it started is ended only after the after-commands, which are what ends the job.
 */
export interface JobClient {
  /**
   * What stands before a command beside the job (`enter`), without and with a terminal; it is followed by the working
   * directory (empty: the job's), the number of variables, these, and the command.
   */
  readonly beside: readonly string[];
  readonly besideTerminal: readonly string[];
}

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
  /** Null or absent where the node has no devices. */
  readonly devices?: DeviceAccess | null;
  /** The kernel's boot id at present. */
  readonly bootId: string;
  readonly containment: Containment;
  /** Most bytes of each stream that are kept; null for no limit. */
  readonly outputQuotaBytes: number | null;
  /** The job is stopped when nobody renews its lease for so long; null: it needs none. */
  readonly leaseMs: number | null;
  /** Run one after the other when the job has ended, however it did, also after its shim was lost. */
  readonly after: readonly AfterCommand[];
  /** Null where the command is the job itself. */
  readonly client: JobClient | null;
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
  /** The attempt was seen to run: one whose folder does not know that any more is lost, not unstarted. */
  readonly began?: boolean;
}

/** Processes of an ended job that SIGKILL could not end: they wait inside the kernel. */
export interface Survivors {
  readonly count: number;
  /** The shim lives on until the kernel has let go of them: its pid and, from /proc, its start time in clock ticks. */
  readonly shimPid: number;
  readonly shimStartTicks: number;
}

/** How the job's process ended, as the kernel told the shim. */
export interface ProcessEnd {
  readonly kind: 'exited' | 'signalled' | 'failedToStart' | 'lost';
  readonly exitCode: number | null;
  readonly signal: number | null;
  /** Why the executor stopped it, if it did: its time limit, a lease that ran out, or `stop`. */
  readonly stopped: 'timeLimit' | 'lease' | 'stop' | null;
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
  /** By the job's control groups; null where there were none. */
  readonly memoryPeakBytes: number | null;
  readonly processesPeak: number | null;
  readonly outOfMemory: { readonly kills: number; readonly firstAtMs: number | null } | null;
  /**
   * What the kernel refused of the plan, `WHAT: ERRNO`; those limits did not hold. WHAT is the file of a setting
   * (`memory.max`), `cgroup CONTROLLERS` for a whole group, or `RLIMIT_NAME`.
   */
  readonly refusedLimits: readonly string[];
  readonly gaps: readonly OutputGap[];
  readonly survivors: Survivors | null;
  /** When the checkpoint signal was sent; null when it was not. */
  readonly checkpointAtMs: number | null;
  /** Bytes that are kept. */
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
  memoryPeakBytes: null,
  processesPeak: null,
  outOfMemory: null,
  refusedLimits: [],
  gaps: [],
  survivors: null,
  checkpointAtMs: null,
  stdoutBytes: 0,
  stderrBytes: 0,
  detail: null,
};

/** What a running job tells; each is called at most once, but for `output`. */
export interface ExecutionEvents {
  /** What is done before the program runs, a clause; now and then, any number of times. */
  progress?(text: string): void;
  /** The program runs (exec succeeded). */
  started(pid: number, startedAtMs: number): void;
  /** Output files have grown to these sizes. */
  output(stdoutBytes: number, stderrBytes: number): void;
  /** Final. Called exactly once, after the last `output`. */
  ended(end: ProcessEnd): void;
}

/** A command to run beside a job: in its walls, as its user, with its limits. */
export interface EnterRequest {
  readonly command: readonly string[];
  /** Size of its terminal; null: it gets pipes. */
  readonly terminal: { readonly rows: number; readonly columns: number } | null;
  /** Added to the job's environment, same names replaced. */
  readonly environment: Readonly<Record<string, string>>;
}

/** How it ended. `lost`: the job ended, or its shim did, and the command was killed with it. */
export type EnterEnd =
  | { readonly kind: 'exited'; readonly exitCode: number }
  | { readonly kind: 'signalled'; readonly signal: number }
  | { readonly kind: 'failedToStart'; readonly step: string; readonly errno: string }
  | { readonly kind: 'lost'; readonly detail: string };

export interface EnterEvents {
  started(pid: number): void;
  output(stream: 'stdout' | 'stderr', bytes: Uint8Array): void;
  /** So many further bytes of input were taken by the command. */
  inputTaken(bytes: number): void;
  /** Final. Called exactly once; nothing is told after it. */
  ended(end: EnterEnd): void;
}

/** A command that runs beside a job. Nothing of it throws; after its end all of it does nothing. */
export interface Entered {
  /** Bytes for its standard input, at most EXEC_INPUT_WINDOW_BYTES beyond those taken; empty: its end. */
  input(bytes: Uint8Array): void;
  resize(rows: number, columns: number): void;
  signal(signal: number): void;
  /** Stops and continues reading its output; the command feels it as a full pipe. */
  pause(): void;
  resume(): void;
  /** SIGHUP, and SIGKILL soon after. `ended` is not called any more. */
  close(): void;
}

export interface Execution {
  /** Runs a command beside the running job; an executor without it cannot. */
  readonly enter?: ((request: EnterRequest, events: EnterEvents) => Entered) | undefined;
  /** Asks the job to end: SIGTERM, after `graceMs` SIGKILL to all that is left. Safe to repeat; never throws. */
  stop(graceMs: number): void;
  /** Prolongs the lease: the job is stopped when this much time passes without another renewal. Never throws. */
  renew(leaseMs: number): void;
  /** Forgets the job without touching it, when the agent itself stops. */
  detach(): void;
}

export interface Executor {
  readonly name: string;
  /** How it walls in and limits a job by itself, in place of what was decided for the shim; absent: the shim does. */
  contain?(decided: Containment, job: OwnWalls): Containment;
  /** True for the folder of an attempt of its own, whose order was lost. */
  knows?(folder: string): boolean;
  /** Why it cannot work on this host, in words with the remedy, or null. */
  probe(): string | null;
  /** Resolves when `probe` knows; absent: it always does. */
  probed?(): Promise<void>;
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

/** What an executor with walls of its own is asked for. */
export interface OwnWalls {
  readonly spec: JobSpec;
  readonly deviceNodes: readonly string[];
}

/** Names of the files in a job's folder that others read. */
export const jobFile = {
  stdout: 'stdout',
  stderr: 'stderr',
  workspace: 'workspace',
  meter: 'meter',
} as const;
