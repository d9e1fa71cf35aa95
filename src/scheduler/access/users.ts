// The users of a scheduler: documents of its queue, by name (and in a file beside it: accounts.ts). Of a token only the
// SHA-256 is kept (base/token-text.ts says why that is enough). Names are never given away again, since jobs go by them: a revoked user stays written down.
import type { Clock } from '../../base/clock.ts';
import { Fault, isFault } from '../../base/fault.ts';
import { createToken } from '../../base/token-text.ts';
import type { AuditSink } from '../../protocol/audit.ts';
import type { Role } from '../../protocol/role.ts';
import { isSignedBy, keyIdOf, readPublicKey } from '../../protocol/signed.ts';
import {
  type KeyRequest,
  type KeyView,
  MAX_USER_KEYS,
  type NewUser,
  TOKEN_LIFE_MS,
  type UserView,
  userKeyText,
} from '../../protocol/user-api.ts';
import type { Queue } from '../queue/queue.ts';

export const MAX_USERS = 10_000;
/** For the token of the scheduler's own state directory. */
export const LOCAL_USER = 'local';

export interface UserRecord {
  readonly name: string;
  readonly role: Role;
  readonly createdAtMs: number;
  readonly createdBy: string;
  readonly revokedAtMs: number | null;
  readonly token: TokenRecord | null;
  readonly keys: readonly { readonly publicKey: string; readonly addedAtMs: number }[];
  /** Counts its changes, so that of two copies the later is known (accounts.ts); absent before the first here. */
  readonly serial?: number;
}

export interface TokenRecord {
  readonly id: string;
  /** SHA-256 of the whole token, hexadecimal. */
  readonly hash: string;
  readonly createdAtMs: number;
  readonly expiresAtMs: number;
}

export interface IssuedToken {
  readonly user: UserRecord;
  readonly text: string;
}

export interface Users {
  get(name: string): UserRecord | null;
  /** Whose token has this id; null for an unknown one. */
  byToken(tokenId: string): UserRecord | null;
  all(): readonly UserRecord[];
  /** Throws Fault USER_EXISTS or USER_TOO_MANY. */
  create(user: NewUser, by: string): Promise<IssuedToken>;
  /** A new token in place of the one before; a revoked user is one again. Throws Fault USER_UNKNOWN. */
  renew(name: string, lifetimeMs: number, by: string): Promise<IssuedToken>;
  setRole(name: string, role: Role, by: string): Promise<UserRecord>;
  revoke(name: string, by: string): Promise<UserRecord>;
  /** Throws Fault USER_KEY_INVALID, USER_KEY_TOO_MANY or USER_RESERVED. */
  addKey(name: string, request: KeyRequest): Promise<void>;
  removeKey(name: string, keyId: string): Promise<void>;
  /** Keys that this user may sign submissions with. */
  keys(name: string): readonly KeyView[];
  /** Whether a submission of this user may be signed with this key. */
  hasKey(name: string, publicKey: string): boolean;
}

export interface UsersParts {
  readonly schedulerId: string;
  readonly queue: Pick<Queue, 'putDocument' | 'documents' | 'failure'>;
  readonly clock: Clock;
  readonly audit: AuditSink;
  /** Public key of the local user, or null where it has none. */
  readonly localKey: string | null;
  /** What is known of this user has changed. */
  changed(name: string): void;
}

export function createUsers(parts: UsersParts): Users {
  const { queue, clock, audit, localKey, schedulerId } = parts;
  const documents = queue.documents('user') as ReadonlyMap<string, UserRecord>;
  /** Names by id of token. Entries of tokens that are no good any more may stand in it: the record decides. */
  const names = new Map<string, string>();
  for (const [name, { token }] of documents) if (token !== null) names.set(token.id, name);

  function known(name: string): UserRecord {
    const user = documents.get(name);
    if (user !== undefined) return user;
    if (name === LOCAL_USER)
      throw new Fault('USER_RESERVED', 'the user local is the token of the state directory', {
        remedy: 'delete the file scheduler/token there and restart the scheduler to change that token',
      });
    throw new Fault('USER_UNKNOWN', `there is no user ${name}`, { remedy: 'see "flopd user list"' });
  }

  /** `told` writes the decision down, once it holds. */
  async function put(user: UserRecord, told: () => void): Promise<void> {
    const serial = (user.serial ?? 0) + 1;
    const stored = queue.putDocument('user', user.name, { ...user, serial });
    // In memory at once: nothing that was allowed before goes on while the disk is waited for.
    parts.changed(user.name);
    try {
      await stored;
    } catch (error) {
      parts.changed(user.name);
      if (isFault(error, 'ACCOUNTS_UNWRITTEN')) told();
      throw error;
    }
    told();
  }

  function newToken(lifetimeMs: number): { token: TokenRecord; text: string } {
    const { id, hash, text } = createToken('user');
    const createdAtMs = clock.wallMs();
    return { token: { id, hash, createdAtMs, expiresAtMs: createdAtMs + lifetimeMs }, text };
  }

  async function issue(
    user: UserRecord,
    lifetimeMs: number,
    told: (tokenId: string) => void,
  ): Promise<IssuedToken> {
    const { token, text } = newToken(lifetimeMs);
    names.set(token.id, user.name);
    const renewed = { ...user, token };
    await put(renewed, () => told(token.id));
    return { user: renewed, text };
  }

  return {
    get: (name) => documents.get(name) ?? null,
    byToken(tokenId) {
      const user = documents.get(names.get(tokenId) ?? '');
      return user?.token?.id === tokenId ? user : null;
    },
    all: () => [...documents.values()],

    async create({ name, role, lifetimeMs }, by) {
      if (documents.has(name)) {
        const isRevoked = documents.get(name)?.revokedAtMs !== null;
        throw new Fault('USER_EXISTS', `there ${isRevoked ? 'was' : 'is'} a user ${name} already`, {
          field: 'name',
          remedy: `choose another name, or give the same person a new token with "flopd user token ${name}"`,
        });
      }
      if (documents.size >= MAX_USERS)
        throw new Fault('USER_TOO_MANY', `there are ${MAX_USERS} users already`);
      const createdAtMs = clock.wallMs();
      const user = { name, role, createdAtMs, createdBy: by, revokedAtMs: null, token: null, keys: [] };
      return issue(user, lifetimeMs ?? TOKEN_LIFE_MS, (token) =>
        audit('user.created', { user: name, role, by, token }),
      );
    },
    async renew(name, lifetimeMs, by) {
      return issue({ ...known(name), revokedAtMs: null }, lifetimeMs, (token) =>
        audit('user.changed', { user: name, by, token }),
      );
    },
    async setRole(name, role, by) {
      const user = { ...known(name), role };
      await put(user, () => audit('user.changed', { user: name, role, by }));
      return user;
    },
    async revoke(name, by) {
      const before = known(name);
      if (before.revokedAtMs !== null) return before;
      const user = { ...before, revokedAtMs: clock.wallMs(), token: null };
      await put(user, () => audit('user.revoked', { user: name, by }));
      return user;
    },
    async addKey(name, { publicKey, signature }) {
      const user = known(name);
      const key = readPublicKey(publicKey);
      const text = userKeyText(schedulerId, name, publicKey);
      if (key === null || !isSignedBy(key, 'flopd.v2 user', text, signature))
        throw new Fault('USER_KEY_INVALID', 'the signature does not show that you hold that key', {
          field: 'publicKey',
        });
      if (user.keys.some((one) => one.publicKey === publicKey)) return;
      if (user.keys.length >= MAX_USER_KEYS)
        throw new Fault('USER_KEY_TOO_MANY', `${name} has ${MAX_USER_KEYS} keys already`, {
          remedy: 'remove one that is not used any more; see "flopd whoami"',
        });
      await put({ ...user, keys: [...user.keys, { publicKey, addedAtMs: clock.wallMs() }] }, () =>
        audit('user.key.added', { user: name, key: keyIdOf(publicKey) }),
      );
    },
    async removeKey(name, keyId) {
      const user = known(name);
      const keys = user.keys.filter((one) => keyIdOf(one.publicKey) !== keyId);
      if (keys.length === user.keys.length)
        throw new Fault('USER_KEY_UNKNOWN', `${name} has no key ${keyId}`, {
          remedy: 'see "flopd whoami"',
        });
      await put({ ...user, keys }, () => audit('user.changed', { user: name, by: name, keyRemoved: keyId }));
    },
    keys(name) {
      if (name === LOCAL_USER)
        return localKey === null ? [] : [{ id: keyIdOf(localKey), publicKey: localKey, addedAt: null }];
      return keyViews(documents.get(name)?.keys ?? []);
    },
    hasKey(name, publicKey) {
      if (name === LOCAL_USER) return publicKey === localKey;
      const user = documents.get(name);
      return user?.revokedAtMs === null && user.keys.some((one) => one.publicKey === publicKey);
    },
  };
}

function keyViews(keys: UserRecord['keys']): KeyView[] {
  return keys.map(({ publicKey, addedAtMs }) => ({
    id: keyIdOf(publicKey),
    publicKey,
    addedAt: new Date(addedAtMs).toISOString(),
  }));
}

/** A user as admins see it. */
export function userView(user: UserRecord, nowMs: number): UserView {
  const { name, role, createdAtMs, createdBy, revokedAtMs, token, keys } = user;
  const isExpired = token === null || nowMs >= token.expiresAtMs;
  return {
    name,
    role,
    state: revokedAtMs !== null ? 'revoked' : isExpired ? 'expired' : 'active',
    createdAt: new Date(createdAtMs).toISOString(),
    createdBy,
    revokedAt: revokedAtMs === null ? null : new Date(revokedAtMs).toISOString(),
    token:
      token === null
        ? null
        : {
            id: token.id,
            createdAt: new Date(token.createdAtMs).toISOString(),
            expiresAt: new Date(token.expiresAtMs).toISOString(),
          },
    keys: keyViews(keys),
  };
}
