// From the bytes of a text frame to a scheduler message, or a fault that says what was wrong without repeating
// it. Depth is checked on the bytes before JSON.parse: a megabyte of brackets would block the loop for a second.

import * as z from 'zod';
import { Fault } from '../base/fault.ts';
import {
  MAX_FRAME_BYTES,
  type OrderAck,
  type SchedulerMessage,
  schedulerMessageSchema,
} from '../protocol/control.ts';
import { isNestedDeeper } from '../protocol/nesting.ts';
import { type Issue, isOptional, parseTolerant } from '../protocol/tolerant.ts';

/** The deepest message has five levels. */
const MAX_NESTING = 12;
/** Longest part of a peer's own words that we keep or show. */
const MAX_QUOTE = 200;
/** Of our own words with their remedy; they may hold names that somebody else chose. */
const MAX_OWN = 1000;

/** A start order that this build does not understand; it is refused by its ids. */
export interface UnfitOrder {
  readonly type: 'unfit';
  readonly orderId: string;
  readonly jobId: string;
  readonly epoch: number;
  /** The field that it stumbled over. */
  readonly field: string;
}

/** Its refusal. */
export function unfitAck({ orderId, field }: UnfitOrder): OrderAck {
  const message = `this agent does not understand ${field} of the order; it may be older than the scheduler`;
  return { type: 'orderAck', orderId, outcome: 'refused', code: 'JOB_ORDER_UNFIT', message };
}

export interface Incoming {
  /** Null for one that may be ignored. */
  readonly message: SchedulerMessage | UnfitOrder | null;
  /** Fields of a newer peer that were left out; the type of a message that was. */
  readonly ignored: readonly string[];
}

/** Below it nothing is left out: half of what a job asks for is another job. */
const wholeFields = ['spec'];
const startHead = z.object({
  type: z.literal('start'),
  orderId: z.string().regex(/^[a-z]+-[0-9a-z]{1,32}$/),
  jobId: z.string().regex(/^[a-z]+-[0-9a-z]{1,32}$/),
  epoch: z.number().int().positive(),
});

/**
 * Parses and checks one text frame. The limit is that of the frame, not less: a legal command of 128 KiB can be
 * six times as long in JSON, and refusing it would end every session that the scheduler offers it in.
 * Throws LINK_FRAME_TOO_LONG, LINK_MESSAGE_NESTED, LINK_MESSAGE_SYNTAX or LINK_MESSAGE_INVALID.
 */
export function parseSchedulerMessage(bytes: Uint8Array): Incoming {
  if (bytes.byteLength > MAX_FRAME_BYTES) {
    throw new Fault('LINK_FRAME_TOO_LONG', `a text frame of ${bytes.byteLength} bytes`);
  }
  if (isNestedDeeper(bytes, MAX_NESTING)) {
    throw new Fault('LINK_MESSAGE_NESTED', `a message nested deeper than ${MAX_NESTING} levels`);
  }
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8'));
  } catch {
    // The parser's own text quotes the message, so it is not kept as the cause.
    throw new Fault('LINK_MESSAGE_SYNTAX', 'a message that is not JSON');
  }
  const parsed = parseTolerant(schedulerMessageSchema, value, wholeFields);
  if (parsed.success) return { message: parsed.data, ignored: parsed.ignored.map(nameOf) };
  const { issue } = parsed;
  const field = fieldOf(issue.path);
  if (isUnknownType(issue) && isOptional(value)) return { message: null, ignored: ['type'] };
  const unfit = issue.path[0] === 'spec' ? startHead.safeParse(value) : null;
  if (unfit?.success === true)
    return { message: { ...unfit.data, type: 'unfit', field: fieldOf(pathWithKey(issue)) }, ignored: [] };
  throw new Fault('LINK_MESSAGE_INVALID', `a message that does not fit the protocol (${issue.code})`, {
    field,
  });
}

const isUnknownType = ({ code, path }: Issue): boolean =>
  code === 'invalid_union' && path.length === 1 && path[0] === 'type';

function pathWithKey(issue: Issue): readonly PropertyKey[] {
  const keys = (issue as Issue & { readonly keys?: readonly string[] }).keys ?? [];
  return [...issue.path, ...keys.slice(0, 1)];
}

/** As it may be shown: the first two steps, without what only a peer could have made up. */
const nameOf = (path: string): string => fieldOf(path.split('.'));

/** The first two steps of a path: those are names of the protocol, deeper ones may be the peer's own keys. */
function fieldOf(path: readonly PropertyKey[]): string {
  const steps = path.slice(0, 2).map((step) => (/^\w{1,32}$/.test(String(step)) ? String(step) : '*'));
  return steps.length === 0 ? 'message' : steps.join('.');
}

/** A peer's words made safe for a log line, a status line and a page: no control characters, at most 200 long. */
export function printable(text: string): string {
  return clean(text, MAX_QUOTE);
}

/** The same for a sentence made on this host: long enough for the remedy at its end. */
export function printableOwn(text: string): string {
  return clean(text, MAX_OWN);
}

function clean(text: string, max: number): string {
  const plain = text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' ').trim();
  return plain.length > max ? `${plain.slice(0, max)}…` : plain;
}
