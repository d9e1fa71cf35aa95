// What is written down for an auditor: every decision about who may do what, and what was done. The record is a line of
// JSON in a chain of hashes (audit/), on both sides.
import * as z from 'zod';
import { keyIdSchema, publicKeySchema, signatureSchema } from './signed.ts';

/** Every kind of record, by who writes it. */
export const auditKinds = [
  // both
  'opened',
  'closed',
  /** An unfinished last line, the trace of a crash, was cut off at open. */
  'tail.cut',
  /** So many records could not be kept while the disk took none. */
  'gap',
  /** Damage was found at open; the chain goes on from here. */
  'chain.broken',
  /** The oldest records were removed by the configuration of this log. */
  'segments.removed',
  // the scheduler
  'node.enrolled',
  'node.removed',
  'node.revoked',
  'node.cloned',
  /** Its place, its labels, or that its copy is believed. */
  'node.changed',
  /** How far the node's own log had come when it connected. */
  'node.head',
  /** The node's own log does not hold any more what it told before. */
  'node.rewound',
  'token.created',
  'token.used',
  'token.revoked',
  'user.created',
  'user.changed',
  'user.revoked',
  'user.key.added',
  'access.denied',
  'job.submitted',
  'job.ordered',
  /** Taken in again, or at a later attempt, from what its node holds. */
  'job.adopted',
  'job.cancelled',
  'job.ended',
  'job.entered',
  /** So many that had ended were removed from the store by its configuration. */
  'jobs.removed',
  'node.drained',
  'node.resumed',
  'policy.refused',
  'key.rotated',
  'authority.rotated',
  // the node
  'order.accepted',
  'order.refused',
  'order.stopped',
  'attempt.started',
  'attempt.ended',
  'keys.learned',
  'scheduler.refused',
  /** How far the scheduler's own log had come, by its signature: a witness for `flopd audit verify --witness`. */
  'scheduler.head',
  /** The scheduler's own log does not hold any more what it told before. */
  'scheduler.rewound',
] as const;
export type AuditKind = (typeof auditKinds)[number];

/** Facts of one record: flat, short, never a secret, never free text of a job. */
export type AuditFacts = Readonly<Record<string, string | number | boolean | null>>;

/** Writes one record; never throws, never waits. */
export type AuditSink = (kind: AuditKind, facts: AuditFacts) => void;

export const auditRecordSchema = z.strictObject({
  sequence: z.number().int().positive(),
  at: z.string().max(32),
  kind: z.string().max(64),
  facts: z.record(z.string().max(64), z.union([z.string().max(1024), z.number(), z.boolean(), z.null()])),
  /** SHA-256 of the line before, hexadecimal; of nothing for the first. */
  previous: z.string().regex(/^[0-9a-f]{64}$/),
});
export type AuditRecord = z.output<typeof auditRecordSchema>;

/** How far a chain has come: its last record that is on disk. */
export const auditHeadSchema = z.strictObject({
  sequence: z.number().int().nonnegative(),
  hash: z.string().regex(/^[0-9a-f]{64}$/),
  /** Which chain: the key id of the key that signs its heads; null from older peers. A node that was split has two. */
  keyId: keyIdSchema.nullable().default(null),
});
export type AuditHead = z.output<typeof auditHeadSchema>;

/** A head as its owner signed it (audit/head.ts), as it lies beside the chain and is told to witnesses. */
export const signedHeadSchema = z.strictObject({
  publicKey: publicKeySchema,
  body: z.string().max(4096),
  signature: signatureSchema,
});
export type SignedHead = z.output<typeof signedHeadSchema>;

export const noAudit: AuditSink = () => {};
