// Tokens as text: `flopd-join-ID-SECRET` and `flopd-user-ID-SECRET`. The id is public and finds the record; the secret is
// 256 random bits, base64url. What is kept of a token is its SHA-256: of so many random bits nobody finds another text
// with the same hash, so that no slow hash is needed.
//
// For use from other hosts a token may carry the pin of a private authority (authority-pin.ts): `TOKEN.sha256-HASH`, the
// SHA-256 of the DER of its certificate, base64url. Whoever dials splits it off, trusts only that authority, and never
// sends it.
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { createId } from './id.ts';

export const tokenKinds = ['join', 'user'] as const;
export type TokenKind = (typeof tokenKinds)[number];

const SECRET_BYTES = 32;
const TOKEN = /^flopd-(join|user)-([0-9a-z]{1,32})-([A-Za-z0-9_-]{43})$/;
const PIN = /\.(sha256-[A-Za-z0-9_-]{43})$/;

export interface TokenParts {
  readonly kind: TokenKind;
  /** Public: names the token in lists and records. */
  readonly id: string;
}

export interface NewToken extends TokenParts {
  /** The whole token: shown once, kept nowhere. */
  readonly text: string;
  /** What is kept of it (`hashToken`). */
  readonly hash: string;
}

export interface PinnedToken {
  /** What is sent. */
  readonly token: string;
  /** `sha256-…`; null where the token carries none. */
  readonly pin: string | null;
}

/** A new token with a random secret. */
export function createToken(kind: TokenKind): NewToken {
  const id = createId('token').slice('token-'.length);
  const text = `flopd-${kind}-${id}-${randomBytes(SECRET_BYTES).toString('base64url')}`;
  return { kind, id, text, hash: hashToken(text) };
}

/** Kind and id of a token without a pin; null for any other text. */
export function parseToken(text: string): TokenParts | null {
  const match = TOKEN.exec(text);
  if (match?.[1] === undefined || match[2] === undefined) return null;
  return { kind: match[1] as TokenKind, id: match[2] };
}

/** SHA-256 of the whole text, hexadecimal. */
export function hashToken(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/** Whether the text has this hash (`hashToken`), in constant time; false where `hash` is none. */
export function isTokenOf(hash: string, text: string): boolean {
  const expected = Buffer.from(hash, 'hex');
  const given = createHash('sha256').update(text).digest();
  return expected.length === given.length && timingSafeEqual(given, expected);
}

/** Splits the pin off, if there is one. */
export function splitPin(text: string): PinnedToken {
  const match = PIN.exec(text);
  return match?.[1] === undefined
    ? { token: text, pin: null }
    : { token: text.slice(0, match.index), pin: match[1] };
}

/** The token as it is handed to other hosts; without a pin, as it is. */
export function withPin(token: string, pin: string | null): string {
  return pin === null ? token : `${token}.${pin}`;
}
