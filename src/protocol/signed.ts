// Texts with an Ed25519 signature. What is signed is a text as it stands, and whoever verifies parses that same text:
// nothing is written anew in between, so there is no second reading of it. Each text is signed for one purpose, which is
// part of what is signed: a signature for one thing is never good for another. The algorithm comes from the key, never
// from the message.
import { createHash, createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import * as z from 'zod';

/** What signatures are made for. */
export type SignedPurpose =
  | 'flopd.v2 order'
  | 'flopd.v2 job'
  | 'flopd.v2 node'
  | 'flopd.v2 keys'
  | 'flopd.v2 user'
  | 'flopd.v2 audit';

export const keyIdSchema = z.string().regex(/^[0-9a-f]{16}$/, 'must be a key id: 16 hexadecimal digits');
/** An Ed25519 public key, DER (SPKI), base64. */
export const publicKeySchema = z
  .string()
  .regex(/^[A-Za-z0-9+/]{58}==$|^[A-Za-z0-9+/]{59}=$|^[A-Za-z0-9+/]{60}$/);
export const signatureSchema = z
  .string()
  .regex(/^[A-Za-z0-9+/]{86}==$/, 'must be an Ed25519 signature in base64');

export const signedSchema = z.strictObject({
  /** Which key it is signed with (`keyIdOf`). */
  keyId: keyIdSchema,
  /** JSON. */
  body: z.string().max(256 * 1024),
  signature: signatureSchema,
});
export type Signed = z.output<typeof signedSchema>;

/** Short name of a key: the first 16 hexadecimal digits of the SHA-256 of its DER. */
export function keyIdOf(publicKey: string): string {
  return createHash('sha256').update(Buffer.from(publicKey, 'base64')).digest('hex').slice(0, 16);
}

/** The key in `text`, or null where it is not an Ed25519 key. */
export function readPublicKey(text: string): KeyObject | null {
  try {
    const key = createPublicKey({ key: Buffer.from(text, 'base64'), format: 'der', type: 'spki' });
    return key.asymmetricKeyType === 'ed25519' ? key : null;
  } catch {
    return null;
  }
}

/** Base64 signature of `text` for this purpose. */
export function signText(key: KeyObject, purpose: SignedPurpose, text: string): string {
  return sign(null, textToSign(purpose, text), key).toString('base64');
}

/**
 * Whether this key signed this text for this purpose. Never throws. A text with half a character is no text: its bytes
 * would be those of another one. A signature has one spelling: base64 would let the last two bits of it be anything.
 */
export function isSignedBy(key: KeyObject, purpose: SignedPurpose, text: string, signature: string): boolean {
  if (key.asymmetricKeyType !== 'ed25519' || !text.isWellFormed()) return false;
  try {
    const bytes = Buffer.from(signature, 'base64');
    return bytes.toString('base64') === signature && verify(null, textToSign(purpose, text), key, bytes);
  } catch {
    return false;
  }
}

/** The key's id, signature and text in one. */
export function sealText(key: KeyObject, keyId: string, purpose: SignedPurpose, body: string): Signed {
  return { keyId, body, signature: signText(key, purpose, body) };
}

/** SHA-256 of a text in UTF-8, hexadecimal; null for a text with half a character, which has no bytes of its own. */
export function digestOf(text: string): string | null {
  return text.isWellFormed() ? createHash('sha256').update(text, 'utf8').digest('hex') : null;
}

function textToSign(purpose: SignedPurpose, text: string): Buffer {
  return Buffer.from(`${purpose}\n${text}`, 'utf8');
}
