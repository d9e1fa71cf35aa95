// The keys that a scheduler signs with, as its nodes learn them: statements, each signed by a key that stands in it. The
// first is trusted when a node is enrolled; a later one (`serial` grows by one with each rotation) when a key that was
// good until then signed it. So a node that was away follows the statements that it missed, one after the other.
//
//   1 {A}  signed by A     2 {A until T, B}  signed by A     3 {B until U, C}  signed by B
//
// A key that somebody else may have is good until REVOKED_MS, which is always over: it vouches for the next one a last time,
// and from the moment that a node hears it, nothing that it signed is good there, whenever that was. Older nodes know no
// such word and do the same.
import type { KeyObject } from 'node:crypto';
import * as z from 'zod';
import { isSignedBy, keyIdOf, publicKeySchema, readPublicKey, type Signed } from './signed.ts';

/** Statements that are told at once; a node that missed more rotations must be enrolled again. */
export const MAX_STATEMENTS = 32;

/** `notAfterMs` of a key that is good for nothing any more. */
export const REVOKED_MS = 0;

const stamp = z.number().nonnegative();

export const keysBodySchema = z.object({
  version: z.literal(1),
  schedulerId: z.string().regex(/^[a-z]+-[0-9a-z]{1,32}$/),
  serial: z.number().int().positive(),
  keys: z
    .array(
      z.object({
        publicKey: publicKeySchema,
        /** Wall clock of the scheduler. */
        notBeforeMs: stamp,
        /** Null while nothing replaces it; REVOKED_MS. */
        notAfterMs: stamp.nullable(),
      }),
    )
    .min(1)
    .max(8),
});
export type KeysBody = z.output<typeof keysBodySchema>;

export interface StatedKey {
  readonly keyId: string;
  readonly key: KeyObject;
  readonly notBeforeMs: number;
  readonly notAfterMs: number | null;
}

export interface Statement {
  readonly schedulerId: string;
  readonly serial: number;
  readonly keys: readonly StatedKey[];
  /** As it was sent. */
  readonly signed: Signed;
}

/** The statement, if one of the keys in it signed it; null for any other text. Whether to believe it is another matter. */
export function readStatement(signed: Signed): Statement | null {
  const body = parseBody(signed.body);
  if (body === null) return null;
  const keys: StatedKey[] = [];
  for (const { publicKey, notBeforeMs, notAfterMs } of body.keys) {
    const key = readPublicKey(publicKey);
    if (key === null) return null;
    keys.push({ keyId: keyIdOf(publicKey), key, notBeforeMs, notAfterMs });
  }
  const signer = keys.find(({ keyId }) => keyId === signed.keyId);
  if (signer === undefined || !isSignedBy(signer.key, 'flopd.v2 keys', signed.body, signed.signature))
    return null;
  return { schedulerId: body.schedulerId, serial: body.serial, keys, signed };
}

function parseBody(text: string): KeysBody | null {
  try {
    return keysBodySchema.safeParse(JSON.parse(text)).data ?? null;
  } catch {
    return null;
  }
}

/** The key of this id in the statement, if it is good at this time (wall clock) give or take `skewMs`. */
export function goodKey(
  statement: Statement,
  keyId: string,
  nowMs: number,
  skewMs: number,
): StatedKey | null {
  const stated = statement.keys.find((one) => one.keyId === keyId);
  if (stated === undefined || stated.notAfterMs === REVOKED_MS || nowMs < stated.notBeforeMs - skewMs)
    return null;
  return stated.notAfterMs !== null && nowMs > stated.notAfterMs + skewMs ? null : stated;
}
