// The job room's contract with the agent: orders in, facts out. The supervisor (supervisor.ts) keeps it.
import type { HeldJob, JobReport, OrderAck, StartOrder, StopOrder } from '../protocol/control.ts';
import type { DeviceFault } from '../protocol/device.ts';
import type { JobResult } from '../protocol/result.ts';
import type { OrderProof } from './book.ts';
import type { Execs } from './exec.ts';

export type OrderAnswer = Pick<OrderAck, 'outcome' | 'code' | 'message'>;
export type OutputStream = 'stdout' | 'stderr';

/** What the job room tells. `started` and `ended` are told again after a restart until settled; receivers are idempotent. */
export interface JobEvents {
  started(jobId: string, epoch: number, pid: number, startedAtMs: number): void;
  /** It was seen to run for the first time, by this agent or the one before: told once but for a crash. */
  began?(jobId: string, epoch: number, pid: number): void;
  /** What an attempt does before its program runs, a clause; told now and then, lost without harm. */
  progress(jobId: string, epoch: number, text: string): void;
  /** The output files have grown to these sizes. */
  outputGrew(jobId: string, epoch: number, stdoutBytes: number, stderrBytes: number): void;
  /** The one result record, already on disk. */
  ended(result: JobResult): void;
  /** An attempt has ended: told once, before `ended`, for those who count. */
  settled?(result: JobResult): void;
}

export interface Jobs {
  /** Idempotent by (jobId, epoch). Resolves when the intent is on disk, before the process runs. */
  start(order: StartOrder, proof?: OrderProof | null): Promise<OrderAnswer>;
  /** `untilMs` (wall clock): until when start orders that came before it may be good. */
  stop(order: StopOrder, untilMs?: number): Promise<OrderAnswer>;
  /** Jobs that are accepted, running, or ended with a result that nobody has acknowledged. */
  held(): readonly HeldJob[];
  /** Why no order is taken at present, whatever it asks, a sentence; null where one may be. */
  problem(): string | null;
  /** What of the last agent's state could not be taken up, in sentences. */
  problems(): readonly string[];
  /** All that is known of an attempt, for a scheduler that has lost it; null for one that is not held. */
  report(jobId: string, epoch: number): JobReport | null;
  /**
   * A round trip with the scheduler that began at this monotonic time is complete: leases of running jobs count from
   * there, and those that an earlier agent accepted are taken up with theirs.
   */
  contact(sinceMs: number, heartbeatMs: number): void;
  /** Results not yet acknowledged, oldest first. */
  unsettled(): readonly JobResult[];
  /** The scheduler has the result on disk; its folder may go once the output is delivered too. */
  acknowledged(jobId: string, epoch: number): void;
  /** The scheduler has this much of the output on disk. */
  delivered(jobId: string, epoch: number, stdoutBytes: number, stderrBytes: number): void;
  /** Bytes [offset, offset + limit) of a stream as far as they are written; null for an unknown job. */
  readOutput(
    jobId: string,
    epoch: number,
    stream: OutputStream,
    offset: number,
    limit: number,
  ): Promise<Uint8Array | null>;
  /**
   * Devices, or devices of which partitions are held, on which no job may stay: ends those that hold them, each with
   * its grace, as FAILED with the fault as its cause. Safe to repeat, and to be repeated after a restart.
   */
  deviceFailed(ids: readonly string[], fault: Pick<DeviceFault, 'code' | 'text'>): void;
  /** Ids of the devices and partitions that jobs hold. */
  heldDevices(): ReadonlySet<string>;
  /** Commands beside running jobs. */
  readonly execs: Execs;
  /** Jobs that run now, for the node's figures. */
  runningCount(): number;
  /** Leaves running jobs alone, syncs the journal, closes. */
  close(): Promise<void>;
}
