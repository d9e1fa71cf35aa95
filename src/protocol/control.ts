// Control messages of the link: the text frames of the link, one JSON object each, told apart by `type`.
//
//   scheduler                         agent
//   challenge {nonce}            ->
//                                <-   hello {node, proof, jobs, inventory}
//   welcome {intervals, outputs} ->                      (or error, then close 4400-4499)
//                                <-   dictionary, then binary telemetry frames
//                                <-   devices {records}       whenever one of them has changed
//   start | stop {orderId}       ->                      version 1; from version 2 on signedStart | signedStop: order.ts
//                                <-   orderAck {orderId, outcome}
//                                <-   jobProgress {text}          what an attempt does before its program runs
//                                <-   jobStarted | jobResult {sequence}   resent until acknowledged
//   authorities {pem}            ->      whenever the scheduler's private authorities have changed
//   ack {sequence}               ->
//                                <-   binary output chunks
//   outputAck {jobId, offsets}   ->                      also the credit for more output
//                                <-   heartbeat {sequence}   every heartbeat interval; {refusing} when it takes no orders any more, or again
//   heartbeat {echo, auditHead}  ->                      at once; a round trip is what prolongs leases (lease.ts)
//   credential                   ->                      where the node stands, when that has changed
//   report {jobId, epoch}        ->                      the store has lost this job
//                                <-   jobReport {order, phase, result}
//   keys {statements}            ->                      the scheduler's keys have changed: keys.ts
//   exec | signedExec, execResize, execSignal, execStop, execCredit   ->      a command beside a running job: exec.ts
//                                <-   execStarted, execCredit, execEnd
//
// INVARIANTS: a start order is idempotent by (jobId, epoch). jobResult is resent byte for byte until `ack`.
// Every schema is closed; a message that does not fit ends the session with its close code, and nothing of it
// takes effect. What a newer peer may add (tolerant.ts): fields, which are ignored unless it names them in `critical`;
// messages with `optional: true`, which are ignored; never fields of a job's specification, whose order is refused.
// Versions are negotiated by the ranges in challenge and hello (version.ts): the highest that both speak.
import * as z from 'zod';
import { auditHeadSchema, signedHeadSchema } from './audit.ts';
import { columnFamilies } from './columns.ts';
import { deviceRecordSchema } from './device.ts';
import {
  execCreditSchema,
  execEndSchema,
  execOrderSchema,
  execResizeSchema,
  execSignalSchema,
  execStartedSchema,
  execStopSchema,
} from './exec.ts';
import { MAX_STATEMENTS } from './keys.ts';
import { signedExecSchema, signedStartSchema, signedStopSchema } from './order.ts';
import { jobResultSchema } from './result.ts';
import { signedSchema } from './signed.ts';
import { jobSpecSchema } from './spec.ts';

export const SUBPROTOCOL = 'flopd.v1';
export const LINK_PATH = '/v1/link';
/** Largest frame either side accepts. */
export const MAX_FRAME_BYTES = 1024 * 1024;
/** Largest output chunk; well under a frame so that control messages do not wait long behind one. */
export const MAX_OUTPUT_CHUNK_BYTES = 64 * 1024;
/** Output bytes per stream that may be on the way without an outputAck. */
export const OUTPUT_WINDOW_BYTES = 4 * 1024 * 1024;
/** Peers that do not say hello (or challenge) within this time are cut off. */
export const HELLO_DEADLINE_MS = 5000;

/** Application close codes. */
export const closeCode = {
  badMessage: 4400,
  unauthenticated: 4401,
  unknownNode: 4404,
  helloTimeout: 4408,
  replaced: 4409,
  removed: 4410,
  cloned: 4411,
  version: 4426,
  silent: 4460,
  shuttingDown: 4503,
} as const;

const id = z.string().regex(/^[a-z]+-[0-9a-z]{1,32}$/);
const epoch = z.number().int().positive();
const sequence = z.number().int().positive();
const count = z.number().int().nonnegative();
const shortText = z.string().max(1024);
const versionRange = z.strictObject({ min: z.number().int(), max: z.number().int() });

/** Static facts of the host, read once at start. `null` where unknown. */
export const inventorySchema = z.strictObject({
  hostname: z.string().max(253),
  os: shortText.nullable(),
  kernel: shortText.nullable(),
  architecture: z.string().max(32),
  virtualisation: shortText.nullable(),
  cpuModel: shortText.nullable(),
  cpuSockets: count.nullable(),
  cpuCores: count.nullable(),
  cpuThreads: count,
  memoryBytes: count,
  /** What jobs may use: the least of the machine, its cgroup and the configuration. */
  jobCpus: z.number().positive(),
  jobMemoryBytes: count,
  /** Peak FLOP/s by precision, computed from clock and instruction set, with its source in words. */
  cpuPeakFlops: z.strictObject({
    computed: z.strictObject({ fp64: z.number().nullable(), fp32: z.number().nullable(), source: shortText }),
    measured: z.strictObject({ fp64: z.number().nullable(), fp32: z.number().nullable(), source: shortText }),
  }),
  executors: z.array(z.string().max(32)).max(16),
  /** Classes of data whose jobs the node takes (data-policy.ts); absent from agents that take none. */
  dataClasses: z.array(z.string().max(32)).max(16).optional(),
  /** It passes signed input of commands beside jobs on (exec-input.ts); absent from agents before there was any. */
  passesProofs: z.boolean().optional(),
  /** What this agent lacks and what that costs, in sentences: a missing addon, no power source. */
  limitations: z.array(shortText).max(32),
});
export type Inventory = z.output<typeof inventorySchema>;

/** A job as the agent knows it when it says hello. */
export const heldJobSchema = z.strictObject({
  jobId: id,
  epoch,
  phase: z.enum(['accepted', 'running', 'ended']),
  /** Devices and partitions that it holds; null where the agent cannot tell (its order was lost with the journal). */
  devices: z.array(z.string().min(1).max(96)).max(1024).nullable().default(null),
});
export type HeldJob = z.output<typeof heldJobSchema>;

export const challengeSchema = z.strictObject({
  type: z.literal('challenge'),
  schedulerId: id,
  versions: versionRange,
  /** Random, fresh per connection, base64. */
  nonce: z.string().min(22).max(128),
});

/** All accelerators and partitions of the node as they are now: what is not in the list is gone. */
const deviceRecords = z.array(deviceRecordSchema).max(4096);

/** What the scheduler signed when the node was enrolled: enough to take it back when its record is lost. */
export const credentialSchema = z.strictObject({
  /** Ed25519 public key of the node, DER (SPKI), base64. */
  publicKey: z.string().max(256),
  enrolledAtMs: z.number(),
  /** Ed25519 signature (base64) of the scheduler's key over `credentialText`. */
  signature: z.string().max(128),
});
export type Credential = z.output<typeof credentialSchema>;

/** What people call a node: on one line, and written in one direction. */
const NODE_NAME = /^[^\p{Cc}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]+$/u;
export const nodeNameSchema = z.string().min(1).max(253).regex(NODE_NAME);

export const helloSchema = z.strictObject({
  type: z.literal('hello'),
  versions: versionRange,
  nodeId: id,
  name: nodeNameSchema,
  agentVersion: z.string().max(64),
  bootId: z.string().max(64),
  /** Counts the starts of this agent on this state directory; a copy of the directory shows as a fork. */
  generation: z.number().int().positive(),
  /** This very run of the agent, made up at its start: two that tell one generation are two agents with one key. */
  instance: id.nullable().default(null),
  /** Ed25519 signature (base64) over `helloProofText` of the version that both speak. */
  proof: z.string().max(128),
  /** Null where the node was enrolled before there were any. */
  credential: credentialSchema.nullable().default(null),
  /** The same from version 2 on, with the place of the node (credential.ts). */
  signedCredential: signedSchema.nullable().default(null),
  /** How far the node's own audit log is on disk; null where it keeps none. */
  audit: auditHeadSchema.nullable().default(null),
  /** The same of the agent's own log, where the jobs have theirs in a runner (`audit`). */
  agentAudit: auditHeadSchema.optional(),
  inventory: inventorySchema,
  devices: deviceRecords,
  /** Why it takes no orders at present, a sentence; absent where it takes them, and from agents that do not say. */
  refusing: shortText.nullable().optional(),
  jobs: z.array(heldJobSchema).max(100_000),
});

const authoritiesList = z.array(z.string().max(4096)).max(8);

export const welcomeSchema = z.strictObject({
  type: z.literal('welcome'),
  version: z.number().int(),
  sessionId: id,
  /** Agent sends something at least this often, and gives up on a scheduler silent for three times as long. */
  heartbeatMs: z.number().int().min(100).max(600_000),
  telemetryMs: z.number().int().min(100).max(600_000),
  /** How much output of the held jobs the scheduler already has on disk. */
  outputs: z.array(z.strictObject({ jobId: id, epoch, stdoutBytes: count, stderrBytes: count })).max(100_000),
  /** The keys that orders are signed with, oldest statement first (keys.ts). */
  keys: z.array(signedSchema).max(MAX_STATEMENTS).default([]),
  /** Lets the node fetch inputs and bring outputs over HTTP (protocol/file-api.ts) while this session lasts. */
  fileTicket: z.string().max(128).nullable().default(null),
  /** A credential that is later than the one that the node has shown. */
  credential: signedSchema.nullable().default(null),
  /** Whom the scheduler's certificate may come from, now and soon: PEM, one each. Empty: no private authority. */
  authorities: authoritiesList.default([]),
  /** How far the scheduler's own audit log is on disk: the node is its witness. */
  auditHead: signedHeadSchema.optional(),
});

/** As in the welcome, when they have changed since. */
export const authoritiesSchema = z.strictObject({
  type: z.literal('authorities'),
  authorities: authoritiesList,
  /** Older peers may ignore it: the next welcome tells them. */
  optional: z.literal(true).default(true),
});

/** A new credential during a session, to peers that speak version 2. */
export const credentialMessageSchema = z.strictObject({
  type: z.literal('credential'),
  credential: signedSchema,
});

export const dictionarySchema = z.strictObject({
  type: z.literal('dictionary'),
  generation: count,
  columns: z
    .array(
      z.strictObject({
        family: z.enum(Object.keys(columnFamilies) as [keyof typeof columnFamilies]),
        owner: z.union([z.literal('host'), z.number().int().nonnegative()]),
        label: z.string().max(128).nullable(),
      }),
    )
    .max(65_536),
});

export const devicesSchema = z.strictObject({ type: z.literal('devices'), devices: deviceRecords });

export const agentHeartbeatSchema = z.strictObject({
  type: z.literal('heartbeat'),
  /** Grows by one within a session; comes back as an echo. */
  sequence: sequence.nullable().default(null),
  /** As in the hello, where that has changed since; null: it takes orders again. Absent: nothing new. */
  refusing: shortText.nullable().optional(),
});
export const schedulerHeartbeatSchema = z.strictObject({
  type: z.literal('heartbeat'),
  /** Sequence of the heartbeat that has just been received; null for a mere sign of life. */
  echo: sequence.nullable().default(null),
  /** As in the welcome, now and then when it has grown. */
  auditHead: signedHeadSchema.optional(),
});
export const startOrderSchema = z.strictObject({
  type: z.literal('start'),
  orderId: id,
  jobId: id,
  epoch,
  spec: jobSpecSchema,
  /** Which of its array it is; null for a job of its own. */
  array: z.strictObject({ id, index: count, size: count }).nullable().default(null),
  /** Ids of the devices or partitions that the job is granted, as many as its specification asks for. */
  devices: z.array(z.string().min(1).max(96)).max(1024).default([]),
  /** The scheduler's own mark on this order, by which it knows it again after it has lost its store; opaque. */
  seal: z.string().max(128).nullable().default(null),
});
export const stopOrderSchema = z.strictObject({
  type: z.literal('stop'),
  orderId: id,
  jobId: id,
  epoch,
  /** Who asked, for the result. */
  by: z.string().min(1).max(128),
  reason: shortText,
});
/** The attempt has ended there, its result was acknowledged, and nothing of it is left but its name. */
export const SETTLED_CODE = 'JOB_SETTLED';
export const orderAckSchema = z.strictObject({
  type: z.literal('orderAck'),
  orderId: id,
  outcome: z.enum(['accepted', 'duplicate', 'refused']),
  /** Stable code of a refusal, e.g. `JOB_EXECUTOR_MISSING`; of a duplicate SETTLED_CODE or null; null otherwise. */
  code: z.string().max(64).nullable(),
  message: shortText.nullable(),
});
/** Told now and then, of the last attempt of a job that has not started; lost without harm. */
export const jobProgressSchema = z.strictObject({
  type: z.literal('jobProgress'),
  jobId: id,
  epoch,
  /** A clause for its sentence: `fetching inputs, 120 MB of 2 GB`. */
  text: z.string().max(256),
});
export const jobStartedSchema = z.strictObject({
  type: z.literal('jobStarted'),
  sequence,
  jobId: id,
  epoch,
  pid: z.number().int().positive(),
  startedAtMs: z.number(),
});
export const jobResultMessageSchema = z.strictObject({
  type: z.literal('jobResult'),
  sequence,
  result: jobResultSchema,
});
/** Asks for all that the agent knows of a job that it holds. */
export const reportSchema = z.strictObject({ type: z.literal('report'), jobId: id, epoch });
export const jobReportSchema = z.strictObject({
  type: z.literal('jobReport'),
  jobId: id,
  epoch,
  /** The order as it was carried out; null where the agent has lost it too, or tells it by `proof`. */
  order: startOrderSchema.nullable(),
  /** The order as it was signed; null for one of version 1. */
  proof: signedStartSchema.nullable().default(null),
  phase: z.enum(['accepted', 'running', 'ended']),
  startedAtMs: z.number().nullable(),
  /** Null while it has not ended, and where the whole would not fit into a frame: it comes by itself. */
  result: jobResultSchema.nullable(),
});
/** The scheduler's keys have changed during the session. */
export const keysSchema = z.strictObject({
  type: z.literal('keys'),
  statements: z.array(signedSchema).max(MAX_STATEMENTS),
});
export const ackSchema = z.strictObject({ type: z.literal('ack'), sequence });
export const outputAckSchema = z.strictObject({
  type: z.literal('outputAck'),
  jobId: id,
  epoch,
  stdoutBytes: count,
  stderrBytes: count,
});
export const errorSchema = z.strictObject({
  type: z.literal('error'),
  code: z.string().max(64),
  message: shortText,
});

/** What an agent may send. */
export const agentMessageSchema = z.discriminatedUnion('type', [
  helloSchema,
  dictionarySchema,
  devicesSchema,
  agentHeartbeatSchema,
  orderAckSchema,
  jobProgressSchema,
  jobStartedSchema,
  jobResultMessageSchema,
  execStartedSchema,
  execCreditSchema,
  execEndSchema,
  jobReportSchema,
  errorSchema,
]);
/** What a scheduler may send. */
export const schedulerMessageSchema = z.discriminatedUnion('type', [
  challengeSchema,
  welcomeSchema,
  startOrderSchema,
  stopOrderSchema,
  signedStartSchema,
  signedStopSchema,
  keysSchema,
  reportSchema,
  ackSchema,
  outputAckSchema,
  authoritiesSchema,
  schedulerHeartbeatSchema,
  credentialMessageSchema,
  execOrderSchema,
  signedExecSchema,
  execResizeSchema,
  execSignalSchema,
  execStopSchema,
  execCreditSchema,
  errorSchema,
]);

export type Challenge = z.output<typeof challengeSchema>;
export type Hello = z.output<typeof helloSchema>;
export type Welcome = z.output<typeof welcomeSchema>;
export type Dictionary = z.output<typeof dictionarySchema>;
export type Devices = z.output<typeof devicesSchema>;
export type StartOrder = z.output<typeof startOrderSchema>;
export type StopOrder = z.output<typeof stopOrderSchema>;
export type OrderAck = z.output<typeof orderAckSchema>;
export type JobProgress = z.output<typeof jobProgressSchema>;
export type JobStarted = z.output<typeof jobStartedSchema>;
export type JobResultMessage = z.output<typeof jobResultMessageSchema>;
export type Report = z.output<typeof reportSchema>;
export type JobReport = z.output<typeof jobReportSchema>;
export type OutputAck = z.output<typeof outputAckSchema>;
export type AgentMessage = z.output<typeof agentMessageSchema>;
export type SchedulerMessage = z.output<typeof schedulerMessageSchema>;

/**
 * The exact bytes that a node signs to prove who it is on this one connection. From version 2 on they name the run of the
 * agent and the TLS connection itself (`binding`; empty without TLS): a proof that somebody in between passes on is good
 * for the connection to him alone.
 */
export function helloProofText(
  hello: Pick<Hello, 'nodeId' | 'bootId' | 'generation'> & Partial<Pick<Hello, 'instance'>>,
  challenge: Pick<Challenge, 'schedulerId' | 'nonce'>,
  version = 1,
  binding = '',
): string {
  const { nodeId, bootId, generation, instance } = hello;
  const fields = [challenge.schedulerId, challenge.nonce, nodeId, bootId, String(generation)];
  return version === 1
    ? ['flopd.v1 hello', ...fields].join('\n')
    : ['flopd.v2 hello', ...fields, instance ?? '', binding].join('\n');
}

/** The exact bytes that a scheduler signs when it enrols a node: of version 1, without its place. */
export function credentialText(
  schedulerId: string,
  nodeId: string,
  { publicKey, enrolledAtMs }: Pick<Credential, 'publicKey' | 'enrolledAtMs'>,
): string {
  return ['flopd.v1 node', schedulerId, nodeId, publicKey, String(enrolledAtMs)].join('\n');
}
