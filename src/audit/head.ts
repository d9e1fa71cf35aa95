// The head of a chain: how far it has come, signed, in `audit-head.json` beside the segments. It is written after what it
// names is on disk, so that it never promises more than there is; a tail that is removed later is missed by it. It also
// holds the anchor: where the first segment that is kept begins, since older ones may have been removed.
import type { KeyObject } from 'node:crypto';
import { join } from 'node:path';
import * as z from 'zod';
import { publicKeyText } from '../base/key-file.ts';
import { readText } from '../base/text-file.ts';
import { type SignedHead, signedHeadSchema } from '../protocol/audit.ts';
import { isSignedBy, keyIdOf, readPublicKey, signText } from '../protocol/signed.ts';

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

export function signHead(body: HeadBody, signer: AuditSigner): SignedHead {
  const text = JSON.stringify(body);
  return { publicKey: signer.publicKey, body: text, signature: signer.sign(PURPOSE, text) };
}

/** The text of the head's file. */
export function encodeHead({ publicKey, body, signature }: SignedHead): string {
  return `${JSON.stringify({ publicKey, body, signature }, null, 2)}\n`;
}

/** What a head says, if the key that it names signed it; null for anything else. Whose key that is, is another matter. */
export function readSignedHead({ publicKey, body, signature }: SignedHead): HeadBody | null {
  const key = readPublicKey(publicKey);
  return key !== null && isSignedBy(key, PURPOSE, body, signature) ? parseHeadBody(body) : null;
}

function parseHeadBody(text: string): HeadBody | null {
  try {
    return headBodySchema.safeParse(JSON.parse(text)).data ?? null;
  } catch {
    return null;
  }
}

export type ReadHead =
  | { readonly body: HeadBody; readonly publicKey: string; readonly problem: null }
  | { readonly body: null; readonly publicKey: null; readonly problem: string };

/** The head of the folder. `trusted` are keys that may have signed it; null takes the one that it names. */
export function readHead(folder: string, trusted: readonly string[] | null): ReadHead {
  const text = readText(join(folder, HEAD_FILE));
  if (text === null) return refuse(`${HEAD_FILE} is missing`);
  const file = parseHeadFile(text);
  const body = file === null ? null : parseHeadBody(file.body);
  if (file === null || body === null) return refuse(`${HEAD_FILE} is damaged`);
  if (text !== encodeHead(file)) return refuse(`${HEAD_FILE} is not as it was written`);
  if (trusted !== null && !trusted.includes(file.publicKey))
    return refuse(`${HEAD_FILE} is signed by another key (${keyIdOf(file.publicKey)})`);
  if (readSignedHead(file) === null) return refuse(`the signature of ${HEAD_FILE} does not fit`);
  return { body, publicKey: file.publicKey, problem: null };
}

function parseHeadFile(text: string): SignedHead | null {
  try {
    return signedHeadSchema.safeParse(JSON.parse(text)).data ?? null;
  } catch {
    return null;
  }
}

const refuse = (problem: string): ReadHead => ({ body: null, publicKey: null, problem });
