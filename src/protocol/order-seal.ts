// Orders made and opened. Making: a body and the texts that travel beside it become one signed message. Opening: the
// signature first, then whom the order is for and how long it is good, then the texts beside it by their digests; what is
// carried out is parsed from those very texts. Nothing of a message counts before all of that holds.
import type { KeyObject } from 'node:crypto';
import type * as z from 'zod';
import { Fault } from '../base/fault.ts';
import type { StartOrder, StopOrder } from './control.ts';
import { type ExecCommand, type ExecOrder, execCommandSchema } from './exec.ts';
import { isNestedDeeper } from './nesting.ts';
import {
  type ExecBody,
  execBodySchema,
  ORDER_LIFE_MS,
  ORDER_SKEW_MS,
  type SignedExec,
  type SignedStart,
  type SignedStop,
  type StartBody,
  type StopBody,
  type Submission,
  startBodySchema,
  stopBodySchema,
  submissionDigest,
} from './order.ts';
import { digestOf, isSignedBy, type Signed } from './signed.ts';
import { jobSpecSchema } from './spec.ts';
import { type Issue, parseTolerant } from './tolerant.ts';

/** Why a node does not carry out what it was sent. */
export type OrderFaultCode =
  | 'ORDER_UNSIGNED'
  | 'ORDER_SIGNATURE'
  | 'ORDER_KEY_UNKNOWN'
  | 'ORDER_OTHER_NODE'
  | 'ORDER_OTHER_SCHEDULER'
  | 'ORDER_EXPIRED'
  | 'ORDER_NOT_YET'
  | 'ORDER_CHANGED'
  | 'ORDER_SUBMITTER'
  | 'JOB_ORDER_UNFIT';

/** Deepest nesting of a specification's text: the schema has five levels. */
export const MAX_NESTING = 12;

export type SealText = (body: string) => Signed;

/** Fields of a body that do not follow from the rest. */
export type StartFields = Omit<StartBody, 'kind' | 'version' | 'specDigest' | 'submissionDigest'>;
export type StopFields = Omit<StopBody, 'kind' | 'version'>;
export type ExecFields = Omit<ExecBody, 'kind' | 'version' | 'commandDigest'>;

export function sealStart(
  seal: SealText,
  fields: StartFields,
  spec: string,
  submission: Submission | null,
): SignedStart {
  const { orderId, jobId, epoch } = fields;
  const body: StartBody = {
    kind: 'start',
    version: 1,
    ...fields,
    specDigest: digestFor(spec),
    submissionDigest: submission === null ? null : submissionDigest(submission),
  };
  const signed = seal(JSON.stringify(body));
  return { type: 'signedStart', orderId, jobId, epoch, signed, spec, submission };
}

export function sealStop(seal: SealText, fields: StopFields): SignedStop {
  const { orderId, jobId, epoch } = fields;
  const signed = seal(JSON.stringify({ kind: 'stop', version: 1, ...fields } satisfies StopBody));
  return { type: 'signedStop', orderId, jobId, epoch, signed };
}

export function sealExec(seal: SealText, fields: ExecFields, asked: ExecCommand): SignedExec {
  const { execId, jobId, epoch } = fields;
  const command = JSON.stringify(asked);
  const body: ExecBody = { kind: 'exec', version: 1, ...fields, commandDigest: digestFor(command) };
  return { type: 'signedExec', execId, jobId, epoch, signed: seal(JSON.stringify(body)), command };
}

function digestFor(text: string): string {
  const digest = digestOf(text);
  if (digest === null) throw new Error('a text that is not well-formed Unicode');
  return digest;
}

/** Who opens an order, and when. */
export interface OrderReader {
  readonly schedulerId: string;
  readonly nodeId: string;
  /** The key of this id, if the scheduler may sign with it now. */
  key(keyId: string): KeyObject | null;
  /** Wall clock. */
  readonly nowMs: number;
}

/** Throws a Fault with an OrderFaultCode. */
export function openStart(message: SignedStart, reader: OrderReader): OpenedStart {
  checkSignature(message.signed, reader);
  const opened = readStart(message);
  checkAddress(opened.body, reader);
  return opened;
}

/** Throws a Fault with an OrderFaultCode. */
export function openStop(message: SignedStop, reader: OrderReader): { body: StopBody; order: StopOrder } {
  checkSignature(message.signed, reader);
  const body = parseBody(message.signed.body, stopBodySchema);
  checkNames(message, body);
  checkAddress(body, reader);
  const { orderId, jobId, epoch, by, reason } = body;
  return { body, order: { type: 'stop', orderId, jobId, epoch, by, reason } };
}

/** Throws a Fault with an OrderFaultCode. */
export function openExec(message: SignedExec, reader: OrderReader): { body: ExecBody; order: ExecOrder } {
  checkSignature(message.signed, reader);
  const body = parseBody(message.signed.body, execBodySchema);
  if (message.execId !== body.execId || message.jobId !== body.jobId || message.epoch !== body.epoch)
    throw changed('names another command than it was signed for');
  checkAddress(body, reader);
  if (digestOf(message.command) !== body.commandDigest) throw changed('comes with another command');
  const command = parseText(message.command, 'command', (value) => parseTolerant(execCommandSchema, value));
  const { execId, jobId, epoch, by } = body;
  return { body, order: { type: 'exec', execId, jobId, epoch, ...command, by } };
}

export interface OpenedStart {
  readonly body: StartBody;
  readonly order: StartOrder;
}

/**
 * What a start order says, by its texts alone: for one whose signature has been checked before, and stands in a journal.
 * Throws a Fault ORDER_CHANGED or JOB_ORDER_UNFIT.
 */
export function readStart(message: SignedStart): OpenedStart {
  const body = parseBody(message.signed.body, startBodySchema);
  checkNames(message, body);
  const { submission } = message;
  if ((submission === null ? null : submissionDigest(submission)) !== body.submissionDigest)
    throw changed("comes with another submitter's signature");
  if (digestOf(message.spec) !== body.specDigest) throw changed('comes with another specification');
  const spec = parseText(message.spec, 'spec', (value) => {
    const parsed = jobSpecSchema.safeParse(value);
    return parsed.success ? parsed : { success: false, issue: parsed.error.issues[0] as Issue };
  });
  const { orderId, jobId, epoch, array, devices } = body;
  return { body, order: { type: 'start', orderId, jobId, epoch, spec, array, devices, seal: null } };
}

function checkSignature({ keyId, body, signature }: Signed, reader: OrderReader): void {
  const key = reader.key(keyId);
  if (key === null)
    throw new Fault(
      'ORDER_KEY_UNKNOWN',
      `the order is signed with the key ${keyId}, which this node does not know as one of its scheduler's, or no longer`,
      {
        remedy: 'if the scheduler has lost its keys, run "flopd join" again on this host',
      },
    );
  if (!isSignedBy(key, 'flopd.v2 order', body, signature))
    throw new Fault('ORDER_SIGNATURE', `the signature of the order does not fit the key ${keyId}`);
}

type AnyBody = Pick<StartBody, 'schedulerId' | 'nodeId' | 'issuedAtMs' | 'expiresAtMs'>;

function checkAddress(body: AnyBody, { schedulerId, nodeId, nowMs }: OrderReader): void {
  if (body.schedulerId !== schedulerId)
    throw new Fault(
      'ORDER_OTHER_SCHEDULER',
      `the order is of ${body.schedulerId}; this node belongs to ${schedulerId}`,
    );
  if (body.nodeId !== nodeId)
    throw new Fault('ORDER_OTHER_NODE', `the order is for ${body.nodeId}, this is ${nodeId}`);
  const clocks = { remedy: 'set the clocks of scheduler and node' };
  if (body.issuedAtMs > nowMs + ORDER_SKEW_MS) {
    const ahead = Math.ceil((body.issuedAtMs - nowMs) / 1000);
    throw new Fault('ORDER_NOT_YET', `the order was signed ${ahead} s ahead of this node's clock`, clocks);
  }
  if (nowMs > body.expiresAtMs + ORDER_SKEW_MS) {
    const past = Math.ceil((nowMs - body.expiresAtMs) / 1000);
    throw new Fault('ORDER_EXPIRED', `the order was good until ${past} s ago by this node's clock`, clocks);
  }
  if (body.expiresAtMs - body.issuedAtMs > ORDER_LIFE_MS)
    throw new Fault('ORDER_EXPIRED', `the order is good for longer than ${ORDER_LIFE_MS / 60_000} minutes`);
}

interface Named {
  readonly orderId: string;
  readonly jobId: string;
  readonly epoch: number;
}

function checkNames(message: Named, body: Named): void {
  if (message.orderId !== body.orderId || message.jobId !== body.jobId || message.epoch !== body.epoch)
    throw changed('names another order than it was signed for');
}

function changed(what: string): Fault {
  return new Fault('ORDER_CHANGED', `the order ${what}`);
}

/** A newer scheduler may add fields; it says in `critical` which of them an older node must not pass over. */
function parseBody<T>(text: string, schema: z.ZodType<T>): T {
  return parseText(text, 'signed.body', (value) => parseTolerant(schema, value));
}

type Parsed<T> =
  | { readonly success: true; readonly data: T }
  | { readonly success: false; readonly issue: Issue };

function parseText<T>(text: string, name: string, parse: (value: unknown) => Parsed<T>): T {
  const unfit = (field: string): Fault =>
    new Fault(
      'JOB_ORDER_UNFIT',
      `this node does not understand ${field} of the order; it may be older than the scheduler`,
    );
  if (isNestedDeeper(Buffer.from(text), MAX_NESTING)) throw unfit(name);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw unfit(name);
  }
  const parsed = parse(value);
  if (parsed.success) return parsed.data;
  const keys = (parsed.issue as Issue & { readonly keys?: readonly string[] }).keys ?? [];
  const [step = ''] = [...parsed.issue.path.map(String), ...keys];
  throw unfit(/^\w{1,32}$/.test(step) ? `${name}.${step}` : name);
}
