// What a scheduler signs of a node: that this key is this node of its network, and where it stands. The node keeps it and
// shows it with each hello; node and scheduler know the place of the node, and its labels, from nowhere else. A change
// of either, or a rotation of the scheduler's key, makes a new one: the serial tells the later of two.
import * as z from 'zod';
import { labelsSchema, type Place, placeSchema } from './place.ts';
import { publicKeySchema, type Signed } from './signed.ts';

const id = z.string().regex(/^[a-z]+-[0-9a-z]{1,32}$/);

export const credentialBodySchema = z.strictObject({
  version: z.literal(2),
  schedulerId: id,
  nodeId: id,
  /** Of the node. */
  publicKey: publicKeySchema,
  enrolledAtMs: z.number().nonnegative(),
  place: placeSchema,
  labels: labelsSchema,
  /** Grows with each change. */
  serial: z.number().int().positive(),
});
export type CredentialBody = z.output<typeof credentialBodySchema>;

/** What it says, whoever signed it: null where it is no credential. The caller has checked the signature, or will. */
export function readCredential({ body }: Pick<Signed, 'body'>): CredentialBody | null {
  try {
    return credentialBodySchema.safeParse(JSON.parse(body)).data ?? null;
  } catch {
    return null;
  }
}

/** The text that is signed. */
export function signedCredentialText(body: CredentialBody): string {
  return JSON.stringify(credentialBodySchema.parse(body));
}

/** `CN-GD, hub Shaoguan, city Shenzhen`; null for nowhere. */
export function describePlace({ jurisdiction, hub, cluster, city }: Place): string | null {
  const parts = [
    ...(jurisdiction === null ? [] : [jurisdiction]),
    ...(hub === null ? [] : [`hub ${hub}`]),
    ...(cluster === null ? [] : [`cluster ${cluster}`]),
    ...(city === null ? [] : [`city ${city}`]),
  ];
  return parts.length === 0 ? null : parts.join(', ');
}
