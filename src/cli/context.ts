// What a command gets from the process that runs it: streams, environment, time, signals, and the daemons as
// functions. Commands touch the process through this alone, and return their exit code.
import type { Readable, Writable } from 'node:stream';
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { Config } from '../config/config.ts';
import type { Environment } from '../config/keys.ts';
import type { Address } from '../config/value.ts';
import type { createGrantRules } from '../device/told-grant.ts';
import type { Corridor } from '../protocol/corridor.ts';
import type { Place } from '../protocol/place.ts';

/** A standard stream; the last three only where it is a terminal. */
export type OutputStream = Writable & {
  readonly isTTY?: boolean;
  readonly columns?: number;
  readonly rows?: number;
};

/** Standard input; the last only where it is a terminal. */
export type InputStream = Readable & {
  readonly isTTY?: boolean;
  /** Keys come as they are pressed, without echo, and raise no signals. */
  setRawMode?(isRaw: boolean): unknown;
};

export type StopSignal = 'SIGINT' | 'SIGTERM';

export interface Context {
  readonly environment: Environment;
  /** Present working directory. */
  readonly folder: string;
  readonly stdin: InputStream;
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
  readonly clock: Clock;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  /** Folder of package.json. */
  readonly root: string;
  readonly version: string;
  /** Path of the running script as it was called. */
  readonly script: string;
  readonly pid: number;
  readonly daemons: Daemons;
  /**
   * Takes single keys from a terminal without echo until the returned function is called; null where standard input
   * is none. Ctrl-C then comes as `\u0003`.
   */
  onKey(fn: (key: string) => void): (() => void) | null;
  /** Calls `fn` at each of these signals until the returned function is called; without one the signal ends the process. */
  onSignal(signals: readonly StopSignal[], fn: (signal: StopSignal) => void): () => void;
}

/** The running scheduler, as far as commands need it (scheduler/scheduler.ts). */
export interface RunningScheduler {
  readonly url: string;
  /** By which other hosts reach it; null for one that listens on loopback. */
  readonly urlElsewhere: string | null;
  readonly schedulerId: string;
  readonly tokenFile: string;
  readonly joinTokenFile: string;
  /** Suffix of tokens that are used on other hosts, or null. */
  authorityPin(): string | null;
  close(): Promise<void>;
}

/** The running agent, as far as commands need it (agent/agent.ts). */
export interface RunningAgent {
  readonly nodeId: string;
  readonly metricsUrl: string;
  readonly schedulerUrl: string;
  /** Resolves when the scheduler has welcomed this agent; rejects after the time. */
  connected(timeoutMs: number): Promise<void>;
  close(): Promise<void>;
}

/** The running job runner, as far as commands need it (runner/runner.ts). */
export interface RunningRunner {
  readonly nodeId: string;
  readonly socket: string;
  close(): Promise<void>;
}

/** The daemons, handed in by bin/ because this room may not import them; each loads its code when called. */
export interface Daemons {
  startScheduler(options: {
    readonly stateDir: string;
    readonly listen: Address;
    readonly tls: Config['tls'];
    readonly clock: Clock;
    readonly log: Log;
    readonly version: string;
    readonly dashboardFolder: string | null;
    readonly files?: Config['files'];
    readonly auditLimits?: Config['audit'];
    readonly retention: Config['output'];
    readonly history: Config['history'];
    readonly leastVersion: number;
    readonly channelBinding: Config['protocol']['channelBinding'];
    readonly policy: { readonly place: Place; readonly corridors: readonly Corridor[] };
  }): Promise<RunningScheduler>;
  startAgent(options: {
    readonly root: string;
    readonly stateDir: string;
    readonly metricsListen: Address;
    readonly scheduler: string | null;
    readonly joinToken: string | null;
    /** Authorities of the scheduler that runs in this process; null: as the configuration has it. */
    readonly caFile?: string | null;
    readonly config: Config;
    readonly clock: Clock;
    readonly log: Log;
    readonly version: string;
  }): Promise<RunningAgent>;
  startRunner(options: {
    readonly root: string;
    readonly stateDir: string;
    readonly config: Config;
    readonly capacity: { readonly cpus: number; readonly memoryBytes: number };
    readonly grants: ReturnType<typeof createGrantRules>;
    readonly clock: Clock;
    readonly log: Log;
  }): Promise<RunningRunner>;
  enrol(options: {
    readonly url: string;
    readonly token: string;
    readonly stateDir: string;
    readonly name: string;
    readonly isNamed: boolean;
    readonly tokenFile: string | null;
    readonly again: boolean;
    readonly newKey: boolean;
    readonly caFile: string | null;
    /** The runner that learns of it, too; null for an agent that starts its jobs itself. */
    readonly runner: { readonly stateDir: string; readonly agentUser: string | null } | null;
  }): Promise<{ readonly nodeId: string; readonly schedulerId: string }>;
  /** What this host knows of its membership, or null. */
  readEnrolment(stateDir: string): Promise<{
    readonly nodeId: string;
    readonly schedulerId: string;
    readonly schedulerUrl: string;
  } | null>;
}
