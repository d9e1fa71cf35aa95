// Users of the scheduler, as its HTTP API has them.
//
//   GET  /v1/me                          anybody with a token      MeView
//   POST /v1/me/keys                     body: KeyRequest          MeView
//   POST /v1/me/keys/ID/remove           body: {}                  MeView
//   GET  /v1/users                                                 {users: UserView[]}
//   POST /v1/users                       body: NewUser             NewTokenView
//   POST /v1/users/NAME/token            body: {lifetimeMs?}       NewTokenView   the one before is no good any more
//   POST /v1/users/NAME/role             body: {role}              UserView
//   POST /v1/users/NAME/revoke           body: {}                  UserView
//
// A token is shown once, in the answer that makes it. A user has one at a time; a name is never given to somebody else,
// since jobs go by it: a revoked user comes back with a new token, or not at all.
import * as z from 'zod';
import { type Role, roles } from './role.ts';
import { publicKeySchema, signatureSchema } from './signed.ts';

const DAY_MS = 24 * 3600 * 1000;
/** Life of a token where none is asked for, and the longest that is given. */
export const TOKEN_LIFE_MS = 90 * DAY_MS;
export const MAX_TOKEN_LIFE_MS = 366 * DAY_MS;
export const MIN_TOKEN_LIFE_MS = 60_000;
/** How far a clock may have been set back since a token was made. */
export const TOKEN_SKEW_MS = 60_000;
/** Keys of one user. */
export const MAX_USER_KEYS = 16;

/** What an end is put down to besides users, and names that would be taken for such. */
const RESERVED = ['local', 'scheduler', 'node', 'agent', 'user', 'me', 'nobody'];
export const userNameSchema = z
  .string()
  .regex(/^[a-z][a-z0-9._-]{0,31}$/, 'must be 1 to 32 of a-z, 0-9, ".", "_", "-", a letter first')
  .refine((name) => !RESERVED.includes(name), 'is a name that flopd itself uses');

const lifetimeMs = z
  .number()
  .int()
  .min(MIN_TOKEN_LIFE_MS, 'must be at least a minute')
  .max(MAX_TOKEN_LIFE_MS, 'must be at most 366 days')
  .default(TOKEN_LIFE_MS);

export const newUserSchema = z.strictObject({ name: userNameSchema, role: z.enum(roles), lifetimeMs });
export type NewUser = z.input<typeof newUserSchema>;
export const newTokenSchema = z.strictObject({ lifetimeMs });
export const roleRequestSchema = z.strictObject({ role: z.enum(roles) });

export const keyRequestSchema = z.strictObject({
  publicKey: publicKeySchema,
  /** Of `userKeyText`, by that key, for the purpose `flopd.v2 user`: nobody can pass off another's key as their own. */
  signature: signatureSchema,
});
export type KeyRequest = z.output<typeof keyRequestSchema>;

export function userKeyText(schedulerId: string, user: string, publicKey: string): string {
  return [schedulerId, user, publicKey].join('\n');
}

export interface KeyView {
  /** `keyIdOf` the key (signed.ts). */
  readonly id: string;
  readonly publicKey: string;
  /** ISO 8601; null for the key of the scheduler's own state directory. */
  readonly addedAt: string | null;
}

export interface UserView {
  readonly name: string;
  readonly role: Role;
  readonly state: 'active' | 'expired' | 'revoked';
  readonly createdAt: string;
  readonly createdBy: string;
  readonly revokedAt: string | null;
  /** Never the secret. */
  readonly token: { readonly id: string; readonly createdAt: string; readonly expiresAt: string } | null;
  readonly keys: readonly KeyView[];
}

export interface NewTokenView {
  readonly user: UserView;
  /** The whole token: it is shown this once and kept nowhere. */
  readonly token: string;
  /** Pin of the scheduler's private authority, for use from other hosts; null where it has none. */
  readonly pin: string | null;
  /** Where other hosts reach the scheduler; null where they do not. */
  readonly url: string | null;
}

export interface MeView {
  readonly schedulerId: string;
  readonly user: string;
  readonly role: Role;
  /** When the token runs out; null for the local one, which does not. */
  readonly tokenExpiresAt: string | null;
  readonly keys: readonly KeyView[];
}
