// The head of a chain: how far it has come, signed, in `audit-head.json` beside the segments. It is written after what it
// names is on disk, so that it never promises more than there is; a tail that is removed later is missed by it. It also
// holds the anchor: where the first segment that is kept begins, since older ones may have been removed.
import type { KeyObject } from 'node:crypto';
import { join } from 'node:path';
import * as z from 'zod';
import { publicKeyText } from '../base/key-file.ts';
import { readText } from '../base/text-file.ts';
import {
  isSignedBy,
  keyIdOf,
  publicKeySchema,
  readPublicKey,
  signatureSchema,
  signText,
} from '../protocol/signed.ts';

export const HEAD_FILE = 'audit-head.json';
const PURPOSE = 'flopd.v2 audit';

const hash = z.string().regex(/^[0-9a-f]{64}$/);
const count = z.number().int().nonnegative();

const headBodySchema = z.strictObject({
  version: z.literal(1),
  /** Whose chain it is: the scheduler's or the node's id. */
  owner: z.string().min(1).max(64),
  at: z.string().max(32),
  /** The last record that is on disk for certain; 0 for none. */
  sequence: count,
  hash,
  /** Number of the segment that it stands in. */
  segment: z.number().int().positive(),
  first: z.strictObject({ segment: z.number().int().positive(), sequence: count, previous: hash }),
});
export type HeadBody = z.output<typeof headBodySchema>;

const headFileSchema = z.strictObject({
  publicKey: publicKeySchema,
  body: z.string().max(4096),
  signature: signatureSchema,
});

/** Signs texts for the chain's owner. */
export interface AuditSigner {
  /** DER (SPKI), base64. */
  readonly publicKey: string;
  sign(purpose: 'flopd.v2 audit', text: string): string;
}

/** Signs heads with this key. */
export function createAuditSigner(key: KeyObject): AuditSigner {
  return { publicKey: publicKeyText(key), sign: (purpose, text) => signText(key, purpose, text) };
}

export function encodeHead(body: HeadBody, signer: AuditSigner): string {
  const text = JSON.stringify(body);
  const signature = signer.sign(PURPOSE, text);
  return `${JSON.stringify({ publicKey: signer.publicKey, body: text, signature }, null, 2)}\n`;
}

export type ReadHead =
  | { readonly body: HeadBody; readonly publicKey: string; readonly problem: null }
  | { readonly body: null; readonly publicKey: null; readonly problem: string };

/** The head of the folder. `trusted` are keys that may have signed it; null takes the one that it names. */
export function readHead(folder: string, trusted: readonly string[] | null): ReadHead {
  const text = readText(join(folder, HEAD_FILE));
  if (text === null) return refuse(`${HEAD_FILE} is missing`);
  let file: z.output<typeof headFileSchema>;
  let body: HeadBody;
  try {
    file = headFileSchema.parse(JSON.parse(text));
    body = headBodySchema.parse(JSON.parse(file.body));
  } catch {
    return refuse(`${HEAD_FILE} is damaged`);
  }
  if (text !== `${JSON.stringify(file, null, 2)}\n`) return refuse(`${HEAD_FILE} is not as it was written`);
  if (trusted !== null && !trusted.includes(file.publicKey))
    return refuse(`${HEAD_FILE} is signed by another key (${keyIdOf(file.publicKey)})`);
  const key: KeyObject | null = readPublicKey(file.publicKey);
  if (key === null || !isSignedBy(key, PURPOSE, file.body, file.signature))
    return refuse(`the signature of ${HEAD_FILE} does not fit`);
  return { body, publicKey: file.publicKey, problem: null };
}

const refuse = (problem: string): ReadHead => ({ body: null, publicKey: null, problem });
