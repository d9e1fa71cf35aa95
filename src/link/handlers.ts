// What the link asks of the rest of the agent, and tells it.
import type { SignedHead } from '../protocol/audit.ts';
import type { JobReport } from '../protocol/control.ts';
import type { Signed } from '../protocol/signed.ts';
import type { ExecHandler } from './exec.ts';
import type { OrderHandler } from './orders.ts';
import type { OutputStream } from './output.ts';

export interface LinkHandlers {
  /** Idempotent. A rejection is answered as a refusal with its code, or AGENT_ERROR. */
  readonly order: OrderHandler;
  /**
   * The scheduler has heard this node at some time since `sinceMs` (monotonic): leases count from there. A silent link
   * counts as lost after `heartbeatMs` times LEASE_MIN_HEARTBEATS.
   */
  contact(sinceMs: number, heartbeatMs: number): void;
  /** All that is known of an attempt, for a scheduler that has lost it; null for one that is not held. */
  report(jobId: string, epoch: number): JobReport | null | Promise<JobReport | null>;
  /** The scheduler has this result on disk. */
  acknowledged(jobId: string, epoch: number): void;
  /** The scheduler has this much output on disk. */
  delivered(jobId: string, epoch: number, stdoutBytes: number, stderrBytes: number): void;
  readOutput(
    jobId: string,
    epoch: number,
    stream: OutputStream,
    offset: number,
    limit: number,
  ): Promise<Uint8Array | null>;
  /** Whom the scheduler's certificate may come from, now and soon: PEM, in the place of those before. */
  authorities?(authorities: readonly string[]): void;
  /** What the scheduler tells of the keys that it signs with, in each welcome and when they change. */
  readonly keys?: (statements: readonly Signed[]) => void;
  /** How far the scheduler's own audit log has come. Never throws. */
  readonly schedulerHead?: (head: SignedHead) => void;
  /** Runs a command beside a running job. */
  readonly exec: ExecHandler;
}
