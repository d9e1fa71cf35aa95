// What one session of an agent (session.ts) is given by the gateway.
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { RefusalLog } from '../base/refusal-log.ts';
import type { AuditSink, SignedHead } from '../protocol/audit.ts';
import type { Challenge, Hello, JobProgress, Welcome } from '../protocol/control.ts';
import type { VersionRange } from '../protocol/version.ts';
import type { Dispatcher } from './dispatcher.ts';
import type { Execs } from './exec.ts';
import type { SchedulerHit } from './fault-points.ts';
import type { Fleet } from './fleet.ts';
import type { Admitted } from './node-admission.ts';
import type { Orders } from './orders.ts';
import type { OutputStore } from './output.ts';
import type { ServerSession } from './server-session.ts';

export interface SessionParts {
  /** Called before each message: those of one turn leave together. */
  gather(): void;
  /** Does it now, or in a later turn of the event loop when many want that. */
  inTurn(task: () => void): void;
  readonly schedulerId: string;
  readonly heartbeatMs: number;
  readonly telemetryMs: number;
  readonly clock: Clock;
  readonly log: Log;
  readonly refusals: RefusalLog;
  readonly fleet: Fleet;
  readonly output: OutputStore;
  readonly dispatcher: Dispatcher;
  readonly execs: Pick<Execs, 'message' | 'frame' | 'detached'>;
  /** Checks version, identity and proof; rejects with a Refusal. */
  admit(hello: Hello, challenge: Challenge): Promise<Admitted>;
  readonly orders: Orders;
  /** That are offered. */
  readonly versions: VersionRange;
  /** Outputs that the scheduler has on disk, of the jobs that the agent holds. */
  outputsOf(hello: Hello): Promise<Welcome['outputs']>;
  /** Writes down what the hello tells of the node. */
  remember(hello: Hello): Promise<void>;
  /** What a node tells of an attempt before its program runs. */
  progress(nodeId: string, message: JobProgress): void;
  /** Lets a node fetch and bring files until `gone` is called; null for a scheduler without a store of files. */
  fileTicket(nodeId: string): { readonly text: string; revoke(): void } | null;
  /** Whom nodes may trust to sign the scheduler's certificate; empty without a private authority. */
  authorities(): readonly string[];
  /** The peer has proven who it is. */
  authenticated(): void;
  received(type: string): void;
  readonly hit: SchedulerHit;
  readonly audit: AuditSink;
  /** Of this scheduler's own log. */
  auditHead(): SignedHead | null;
  /** Called once. */
  ended(session: ServerSession): void;
}
