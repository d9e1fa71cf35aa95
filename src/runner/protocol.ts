// What the agent and the job runner of a host say to each other over the runner's Unix socket; framing.ts says how.
//
//   agent                                     runner
//   hello {version}                       ->
//                                         <-  welcome {nodeId, …}, jobs {held} …, jobStarted, grew, told, ended …
//   devices {…}                           ->        what there is, so that grants can be decided; whenever it changes
//   order {request, order}                ->        an order as it came over the link, signatures and all
//                                         <-  answer {request, outcome}
//   keys {statements}                     ->        what the scheduler tells of its keys, each signed by one before it
//   credential {credential}               ->        what it has signed anew of this node
//   contact {sinceMs, heartbeatMs}        ->        a round trip with the scheduler is complete: leases count from there
//   report {request}, read {request}      ->
//                                         <-  reported {request}, an answer of output (binary)
//   acknowledged, delivered, deviceFailed ->
//                                         <-  granted, jobStarted, progress, grew, settled, ended
//                                         <-  energyAsked {request}
//   energy {request, answer}              ->
//   exec, execResize, …, input (binary)   ->        as on the link (protocol/exec.ts)
//                                         <-  execStarted, execCredit, execEnd, output (binary)
//                                         <-  filesAsked {ticket}
//   on a connection of its own: files {ticket}  ->  and from there on HTTP: the runner asks, the agent answers
//   ping                                  ->
//                                         <-  pong
//
// INVARIANTS
// - There is no message that names a path, a command, a user, an environment or a device node: what runs here is what a
//   signed order says, and where it runs the runner's own configuration.
// - Every schema is closed and bounded. What does not fit ends the connection, and nothing of it takes effect; jobs and
//   their results stay.
// - A lost connection loses nothing: the runner tells all that is not settled again to the next one.
import * as z from 'zod';
import { auditHeadSchema } from '../protocol/audit.ts';
import {
  heldJobSchema,
  jobReportSchema,
  jobStartedSchema,
  keysSchema,
  orderAckSchema,
  startOrderSchema,
  stopOrderSchema,
} from '../protocol/control.ts';
import { cordonSchema, faultSchema, rungs } from '../protocol/device.ts';
import {
  execCreditSchema,
  execEndSchema,
  execOrderSchema,
  execResizeSchema,
  execSignalSchema,
  execStartedSchema,
  execStopSchema,
} from '../protocol/exec.ts';
import { signedExecSchema, signedStartSchema, signedStopSchema } from '../protocol/order.ts';
import { flopMethods, jobResultSchema } from '../protocol/result.ts';
import { signedSchema } from '../protocol/signed.ts';

/** Both sides must speak the same: they are of one package, installed together. */
export const RUNNER_PROTOCOL = 1;
/** A peer that does not say who it is within this time is cut off. */
export const RUNNER_HELLO_MS = 5000;
/** The agent pings so often, and both give up on a peer that is silent for three times as long. */
export const RUNNER_PING_MS = 5000;
export const RUNNER_SILENT_MS = 3 * RUNNER_PING_MS;
/** Longest piece of output that is asked for at once. */
export const MAX_RUNNER_READ_BYTES = 1024 * 1024;
/** Questions of the agent that may be open at the same time. */
export const MAX_RUNNER_REQUESTS = 2048;

const id = z.string().regex(/^[a-z]+-[0-9a-z]{1,32}$/);
const epoch = z.number().int().positive().max(Number.MAX_SAFE_INTEGER);
const count = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);
const request = z.number().int().nonnegative().max(0xffff_ffff);
const amount = z.number().nonnegative().finite();
const sentence = z.string().max(1024);
const sentences = z.array(sentence).max(64);
const deviceId = z.string().min(1).max(96);
const attempt = { jobId: id, epoch } as const;

/** A device as far as its admission and its grant need it known. Numbers only lead to names that vendors have. */
export const toldDeviceSchema = z.strictObject({
  slot: count,
  parentSlot: count.nullable(),
  vendor: z.string().regex(/^[a-z]{1,32}$/),
  index: count.max(65_535),
  /** It stands in a list of devices that a job may see, parted by commas. */
  id: deviceId.regex(/^[\x21-\x2b\x2d-\x7e]+$/, 'must be printable ASCII without spaces and commas'),
  parentId: deviceId.nullable(),
  /** N of its node in /dev. */
  nodeNumber: count.max(65_535).nullable(),
  rung: z.enum(rungs),
  faults: z.array(faultSchema).max(64),
  cordon: cordonSchema.nullable(),
});
export type ToldDevice = z.output<typeof toldDeviceSchema>;

const energyAnswerSchema = z
  .strictObject({
    joules: amount.optional(),
    method: z.string().max(256).optional(),
    absent: sentence.optional(),
    devices: z
      .union([
        z.strictObject({ flop: amount, method: z.enum(flopMethods).nullable() }),
        z.strictObject({ absent: sentence }),
      ])
      .optional(),
  })
  .refine(
    ({ joules, absent }) => (joules === undefined) !== (absent === undefined),
    'must be a number or say why there is none',
  );
export type ToldEnergy = z.output<typeof energyAnswerSchema>;

/** What the agent may say. */
export const agentToRunnerSchema = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('hello'), version: z.number().int() }),
  z.strictObject({ type: z.literal('files'), ticket: z.string().min(16).max(64) }),
  z.strictObject({
    type: z.literal('devices'),
    /** Vendors that this host has or may have. */
    vendors: z.array(z.string().regex(/^[a-z]{1,32}$/)).max(64),
    devices: z.array(toldDeviceSchema).max(1024),
  }),
  z.strictObject({
    type: z.literal('order'),
    request,
    order: z.discriminatedUnion('type', [
      startOrderSchema,
      stopOrderSchema,
      signedStartSchema,
      signedStopSchema,
    ]),
  }),
  /** `sinceMs`: of CLOCK_MONOTONIC, which both processes share. */
  z.strictObject({ type: z.literal('contact'), sinceMs: amount, heartbeatMs: amount.max(600_000) }),
  z.strictObject({ type: z.literal('report'), request, ...attempt }),
  z.strictObject({
    type: z.literal('read'),
    request,
    ...attempt,
    stream: z.enum(['stdout', 'stderr']),
    offset: count,
    limit: z.number().int().positive().max(MAX_RUNNER_READ_BYTES),
  }),
  z.strictObject({ type: z.literal('acknowledged'), ...attempt }),
  z.strictObject({ type: z.literal('delivered'), ...attempt, stdoutBytes: count, stderrBytes: count }),
  z.strictObject({
    type: z.literal('deviceFailed'),
    ids: z.array(deviceId).min(1).max(4096),
    code: z.string().max(64),
    text: z.string().max(512),
  }),
  z.strictObject({ type: z.literal('energy'), request, answer: energyAnswerSchema }),
  z.strictObject({ type: z.literal('ping') }),
  /** As the scheduler told them, each signed by a key before it. */
  keysSchema,
  z.strictObject({ type: z.literal('credential'), credential: signedSchema }),
  execOrderSchema,
  signedExecSchema,
  execResizeSchema,
  execSignalSchema,
  execStopSchema,
  execCreditSchema,
]);
export type AgentToRunner = z.output<typeof agentToRunnerSchema>;

const offeredFields = {
  executors: z.array(z.string().max(32)).max(16),
  problems: sentences,
  limitations: sentences,
  dataClasses: z.array(z.string().max(32)).max(16),
  /** Why no orders are taken, or null. */
  safeMode: sentence.nullable(),
  /** It reads signed input of commands (protocol/exec-input.ts); absent from runners before there was any. */
  readsProofs: z.boolean().optional(),
} as const;

/** What the runner may say. */
export const runnerToAgentSchema = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('welcome'),
    version: z.number().int(),
    nodeId: id,
    schedulerId: id,
    bootId: z.string().max(64),
    ...offeredFields,
  }),
  z.strictObject({ type: z.literal('refused'), code: z.string().max(64), message: sentence }),
  z.strictObject({ type: z.literal('offered'), ...offeredFields, why: sentence }),
  /** Jobs that it holds, told once on each connection, in pieces; what follows changes the list. */
  z.strictObject({ type: z.literal('jobs'), held: z.array(heldJobSchema).max(1000) }),
  /** All that is held has been told; results that are not settled follow. */
  z.strictObject({ type: z.literal('told') }),
  z.strictObject({
    type: z.literal('answer'),
    request,
    outcome: orderAckSchema.shape.outcome,
    code: z.string().max(64).nullable(),
    message: sentence.nullable(),
  }),
  z.strictObject({ type: z.literal('reported'), request, report: jobReportSchema.nullable() }),
  z.strictObject({
    type: z.literal('granted'),
    ...attempt,
    cpus: amount,
    devices: z.array(deviceId).max(1024),
  }),
  jobStartedSchema.omit({ sequence: true }),
  z.strictObject({ type: z.literal('progress'), ...attempt, text: z.string().max(256) }),
  z.strictObject({ type: z.literal('grew'), ...attempt, stdoutBytes: count, stderrBytes: count }),
  /** An attempt has ended: told once, for those who count. */
  z.strictObject({ type: z.literal('settled'), state: jobResultSchema.shape.state }),
  z.strictObject({ type: z.literal('ended'), result: jobResultSchema }),
  z.strictObject({ type: z.literal('energyAsked'), request, ...attempt }),
  z.strictObject({
    type: z.literal('unfit'),
    ids: z.array(deviceId).max(4096),
    finding: z.strictObject({ code: z.string().max(64), rung: z.enum(rungs), text: z.string().max(512) }),
  }),
  z.strictObject({ type: z.literal('filesAsked'), ticket: z.string().min(16).max(64) }),
  /** With how far the runner's audit log is on disk, and why no order is taken; also after one that was refused. */
  z.strictObject({
    type: z.literal('pong'),
    audit: auditHeadSchema.nullable(),
    refusing: sentence.nullable().default(null),
  }),
  execStartedSchema,
  execCreditSchema,
  execEndSchema,
]);
export type RunnerToAgent = z.output<typeof runnerToAgentSchema>;

/** Milliseconds of CLOCK_MONOTONIC now: the same for every process of this host. */
export function hostMonotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
