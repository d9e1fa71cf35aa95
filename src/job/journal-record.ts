// The records of the job journal: what each of them says, and how they are made from what the book knows.
//
//   accepted   an order was taken, and what its job was given; the order as it was signed (`proof`, from which it is read
//              again, so that the specification stands there once), or of version 1 as it was sent
//   stop, began, result, acknowledged   of an attempt
//   closed     names of attempts that are over, each with the time until which a copy of its order could still be good
import * as z from 'zod';
import { type StartOrder, startOrderSchema } from '../protocol/control.ts';
import { nextFields } from '../protocol/next.ts';
import { signedStartSchema } from '../protocol/order.ts';
import { jobResultSchema } from '../protocol/result.ts';
import type { Attempt, Granted, Stop } from './book.ts';
import type { ClosedName } from './closed-names.ts';

const name = z.string().min(1).max(64);
const epoch = z.number().int().positive();
const text = z.string().max(1024);
const grantedSchema = z.strictObject({
  environment: z.record(z.string(), z.string()),
  deviceNodes: z.array(z.string()),
  nodesUnknown: z.boolean().optional(),
  cdiNames: z.array(z.array(z.string())).optional(),
  hostCounted: z.array(z.string()).optional(),
});
const walledSchema = z.strictObject({
  userId: z.number().int().nullable(),
  limits: z.record(z.string(), z.string()),
  isolation: z.record(z.string(), z.string()),
});
const acceptedFields = {
  kind: z.literal('accepted'),
  bootId: text,
  granted: grantedSchema.optional(),
  walled: walledSchema.optional(),
} as const;
/** The order by its name for those who do not know signed ones: an older build takes its job up from its folder. */
export const acceptedSignedSchema = z.strictObject({
  ...acceptedFields,
  order: z.strictObject({ jobId: name, epoch }),
  proof: signedStartSchema,
});
export const journalRecordSchema = z.discriminatedUnion('kind', [
  z.strictObject({ ...acceptedFields, order: startOrderSchema }),
  z.strictObject({
    kind: z.literal('stop'),
    jobId: name,
    epoch,
    by: text,
    reason: text,
    fault: z.string().max(64).optional(),
  }),
  z.strictObject({ kind: z.literal('began'), jobId: name, epoch }),
  z.strictObject({ kind: z.literal('result'), result: jobResultSchema }),
  z.strictObject({ kind: z.literal('acknowledged'), jobId: name, epoch }),
  z.strictObject({
    kind: z.literal('closed'),
    list: z.array(z.tuple([name, epoch, text, text])),
    /** Of each in the list, wall clock; 0 where no copy of an order is good by itself. */
    until: z.array(z.number()).optional(),
    /** Orders that are good until no later than this may have been forgotten. */
    forgottenUntilMs: z.number().optional(),
  }),
]);
/** What is needed of an order that is not understood. */
export const acceptedHead = z.object({
  kind: z.literal('accepted'),
  order: z.object({ jobId: z.string().regex(/^[a-z]+-[0-9a-z]{1,32}$/), epoch }),
  bootId: text,
});
export type JournalRecord = z.output<typeof journalRecordSchema>;
export type AcceptedSigned = z.output<typeof acceptedSignedSchema>;

export function acceptedRecord(
  { granted, walled, proof }: Pick<Attempt, 'granted' | 'walled' | 'proof'>,
  order: StartOrder,
  bootId: string,
): JournalRecord | AcceptedSigned {
  const { jobId, epoch } = order;
  const ordered = proof === null ? { order } : { order: { jobId, epoch }, proof: proof.message };
  // Left out where there is nothing in it, so that earlier builds can read the journals of hosts without devices.
  return {
    kind: 'accepted',
    ...ordered,
    bootId,
    ...nextFields(),
    ...(granted === null ? {} : { granted: copyOf(granted) }),
    ...(walled === null
      ? {}
      : { walled: { ...walled, limits: { ...walled.limits }, isolation: { ...walled.isolation } } }),
  };
}

export function beganRecord({ jobId, epoch }: Attempt): JournalRecord {
  return { kind: 'began', jobId, epoch };
}

export function stopRecord({ jobId, epoch }: Attempt, { by, reason, fault }: Stop): JournalRecord {
  return { kind: 'stop', jobId, epoch, by, reason, ...(fault === null ? {} : { fault }) };
}

const copyOf = ({ environment, deviceNodes, nodesUnknown, cdiNames, hostCounted }: Granted) => ({
  environment: { ...environment },
  deviceNodes: [...deviceNodes],
  ...(nodesUnknown === true ? { nodesUnknown } : {}),
  ...(cdiNames === undefined ? {} : { cdiNames: cdiNames.map((names) => [...names]) }),
  ...(hostCounted === undefined ? {} : { hostCounted: [...hostCounted] }),
});

export function closedRecord(names: readonly ClosedName[], forgottenUntilMs = 0): JournalRecord {
  const isTimed = names.some(({ untilMs }) => untilMs > 0);
  return {
    kind: 'closed',
    list: names.map(({ jobId, epoch, closed }) => [jobId, epoch, closed.code, closed.message]),
    ...(isTimed ? { until: names.map(({ untilMs }) => untilMs) } : {}),
    ...(forgottenUntilMs > 0 ? { forgottenUntilMs } : {}),
  };
}
