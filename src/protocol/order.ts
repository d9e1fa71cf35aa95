// Orders as the scheduler signs them. A node carries out nothing else: what starts a program on it, or stops one, is the
// body of a `Signed` text for the purpose `flopd.v2 order`, by a key of its scheduler, addressed to this node, this job
// and this epoch, and not expired.
//
// The specification of a job travels beside the body, as the exact text that its submitter sent (and, where they hold a
// key, signed): the body names its SHA-256. It is not in the body, so that quoting does not quote it twice.
//
//   start   body: StartBody, spec: text, submission   ->  parsed from these very texts into what the job room carries out
//   stop    body: StopBody
//   exec    body: ExecBody
//
// An order is good until it expires, by wall clocks that may differ by ORDER_SKEW_MS; a node keeps what it has carried
// out by (job, epoch) at least as long, so that a copy of an order starts nothing.
import { createHash } from 'node:crypto';
import * as z from 'zod';
import { publicKeySchema, signatureSchema, signedSchema } from './signed.ts';

/** Life of an order from its signing. One that was not delivered in time is signed anew. */
export const ORDER_LIFE_MS = 10 * 60_000;
/** How far the clocks of scheduler and node may differ. */
export const ORDER_SKEW_MS = 60_000;
/** Longest text of a specification: with one quoting it still fits into a frame beside its order. */
export const MAX_SPEC_TEXT_BYTES = 832 * 1024;

/** Longest text of a command beside a job: 60 KiB may be six times as long in JSON. */
const MAX_EXEC_TEXT_BYTES = 400 * 1024;

const id = z.string().regex(/^[a-z]+-[0-9a-z]{1,32}$/);
const execId = z.string().regex(/^exec-[0-9a-z]{1,32}$/);
const count = z.number().int().nonnegative();
const stamp = z.number().nonnegative();
const digest = z.string().regex(/^[0-9a-f]{64}$/);

/** What every body says: whom it is for and how long it is good. */
const bodyFields = {
  version: z.literal(1),
  schedulerId: id,
  nodeId: id,
  orderId: id,
  jobId: id,
  epoch: z.number().int().positive(),
  issuedAtMs: stamp,
  expiresAtMs: stamp,
} as const;

/** Who submitted a job, as the scheduler knows them. */
export const submitterSchema = z.strictObject({ user: z.string().min(1).max(128) });

/**
 * The submitter's own signature, for the purpose `flopd.v2 job`, over `submissionText`. A node whose operator names the
 * keys that may submit to it checks it against those; elsewhere it is kept as evidence.
 */
export const submissionSchema = z.strictObject({
  publicKey: publicKeySchema,
  signedAtMs: stamp,
  signature: signatureSchema,
});
export type Submission = z.output<typeof submissionSchema>;

export const startBodySchema = z.strictObject({
  kind: z.literal('start'),
  ...bodyFields,
  /** SHA-256 of the specification's text, hexadecimal. */
  specDigest: digest,
  /** Null for a job from before there were users. */
  submitter: submitterSchema.nullable(),
  /** `submissionDigest` of the submitter's signature that travels beside it; null where there is none. */
  submissionDigest: digest.nullable(),
  array: z.strictObject({ id, index: count, size: count }).nullable(),
  devices: z.array(z.string().min(1).max(96)).max(1024),
  submittedAtMs: stamp,
});
export type StartBody = z.output<typeof startBodySchema>;

export const stopBodySchema = z.strictObject({
  kind: z.literal('stop'),
  ...bodyFields,
  by: z.string().min(1).max(128),
  reason: z.string().max(1024),
});
export type StopBody = z.output<typeof stopBodySchema>;

export const execBodySchema = z.strictObject({
  kind: z.literal('exec'),
  ...bodyFields,
  execId,
  /** SHA-256 of the JSON text of the command (`execCommandSchema`) that travels beside it, hexadecimal. */
  commandDigest: digest,
  by: z.string().min(1).max(128),
  /** What its input is signed with (exec-input.ts); absent from schedulers that do not sign it. Older nodes ignore it. */
  inputKey: publicKeySchema.optional(),
});
export type ExecBody = z.output<typeof execBodySchema>;

/** A start order on the wire, from protocol version 2 on. */
export const signedStartSchema = z.strictObject({
  type: z.literal('signedStart'),
  orderId: id,
  jobId: id,
  epoch: z.number().int().positive(),
  signed: signedSchema,
  spec: z.string().max(MAX_SPEC_TEXT_BYTES),
  submission: submissionSchema.nullable(),
});
export type SignedStart = z.output<typeof signedStartSchema>;

export const signedStopSchema = z.strictObject({
  type: z.literal('signedStop'),
  orderId: id,
  jobId: id,
  epoch: z.number().int().positive(),
  signed: signedSchema,
});
export type SignedStop = z.output<typeof signedStopSchema>;

/**
 * A command beside a running job, on the wire. What follows it goes by its id: input, sizes and signals signed by the key
 * that it names (exec-input.ts), credit and its stop unsigned.
 */
export const signedExecSchema = z.strictObject({
  type: z.literal('signedExec'),
  execId,
  jobId: id,
  epoch: z.number().int().positive(),
  signed: signedSchema,
  /** JSON of an `ExecCommand`. */
  command: z.string().max(MAX_EXEC_TEXT_BYTES),
});
export type SignedExec = z.output<typeof signedExecSchema>;

/** The exact text that a submitter signs: for this scheduler, at this time, this specification. */
export function submissionText(schedulerId: string, signedAtMs: number, specDigest: string): string {
  return [schedulerId, String(signedAtMs), specDigest].join('\n');
}

/** What the scheduler's signature covers of the submitter's: SHA-256 of its fields, hexadecimal. */
export function submissionDigest({ publicKey, signedAtMs, signature }: Submission): string {
  return createHash('sha256')
    .update([publicKey, String(signedAtMs), signature].join('\n'))
    .digest('hex');
}
