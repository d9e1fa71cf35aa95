// Who asks, and whether they still may while a stream to them is open. Every request shows a token: that of a user, or
// that of the scheduler's own state directory, which is good from this machine only. What is wrong with a token is told
// only to whoever holds the genuine one; all others get one and the same answer, after the same work.
import { randomBytes } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { type Clock, every } from '../../base/clock.ts';
import { Fault, isFault } from '../../base/fault.ts';
import type { RefusalLog } from '../../base/refusal-log.ts';
import { isTokenOf, parseToken } from '../../base/token-text.ts';
import type { AuditSink } from '../../protocol/audit.ts';
import type { Caller } from '../../protocol/role.ts';
import { MAX_TOKEN_LIFE_MS, TOKEN_SKEW_MS } from '../../protocol/user-api.ts';
import { addressOf, isAskedHere } from '../caller.ts';
import type { Queue } from '../queue/queue.ts';
import type { Secret } from '../secrets.ts';
import { ATTEMPTS_PER_MINUTE, createAttempts } from './attempts.ts';
import { createUsers, LOCAL_USER, type UserRecord, type Users } from './users.ts';

/** How soon a stream notices that the token it was opened with has run out. */
const EXPIRY_SWEEP_MS = 5000;

export interface Admission {
  /** Throws Fault API_UNAUTHENTICATED, API_TOKEN_EXPIRED, API_TOKEN_LOCAL or API_TOO_MANY_ATTEMPTS. */
  authenticate(request: IncomingMessage): Caller;
  /** Writes down that somebody who is known may not do what the request asks for, where that is what `error` says. */
  denied(request: IncomingMessage, error: unknown): void;
  /**
   * Watches over a stream that was opened to `caller`: calls `end` once, when the token is no good any more or `may`
   * says no to what the caller has become. Returns the function that ends the watch.
   */
  hold(caller: Caller, may: (caller: Caller) => boolean, end: () => void): () => void;
}

export interface Access extends Admission {
  readonly users: Users;
  close(): void;
}

export interface AccessParts {
  readonly schedulerId: string;
  readonly queue: Pick<Queue, 'putDocument' | 'documents' | 'failure'>;
  readonly localToken: Secret;
  /** Public key that submissions of the local user are signed with. */
  readonly localKey: string | null;
  readonly clock: Clock;
  readonly refusals: RefusalLog;
  readonly audit: AuditSink;
}

interface Hold {
  readonly caller: Caller;
  readonly may: (caller: Caller) => boolean;
  readonly end: () => void;
}

export function openAccess(parts: AccessParts): Access {
  const { queue, localToken, clock, refusals, audit } = parts;
  const attempts = createAttempts(clock);
  const holds = new Set<Hold>();
  const callers = new WeakMap<IncomingMessage, Caller>();
  /** Compared with where no user has the token's id. */
  const nobody = randomBytes(32).toString('hex');
  const users = createUsers({
    schedulerId: parts.schedulerId,
    queue,
    clock,
    audit,
    localKey: parts.localKey,
    changed: (name) => review(({ caller }) => caller.user === name),
  });
  const sweep = every(clock, EXPIRY_SWEEP_MS, () => review(() => true));

  function review(concerns: (hold: Hold) => boolean): void {
    for (const hold of [...holds]) {
      if (!concerns(hold)) continue;
      const now = present(hold.caller);
      if (now !== null && hold.may(now)) continue;
      holds.delete(hold);
      hold.end();
    }
  }

  /** What the caller is now; null when their token is no good any more. */
  function present(caller: Caller): Caller | null {
    if (caller.tokenId === null) return caller;
    const user = users.byToken(caller.tokenId);
    if (user === null || problemOf(user) !== null) return null;
    return { ...caller, role: user.role };
  }

  /** Why the user's present token is no good, in words. */
  function problemOf({ token, revokedAtMs }: UserRecord): string | null {
    if (token === null || revokedAtMs !== null) return 'is revoked';
    const nowMs = clock.wallMs();
    if (nowMs >= token.expiresAtMs) return `ran out at ${new Date(token.expiresAtMs).toISOString()}`;
    if (token.expiresAtMs - token.createdAtMs > MAX_TOKEN_LIFE_MS)
      return 'is made for longer than any may be good';
    if (nowMs < token.createdAtMs - TOKEN_SKEW_MS)
      return `begins at ${new Date(token.createdAtMs).toISOString()}, which has not come yet`;
    return null;
  }

  /** `given`: the text that was shown; a request without any is no attempt at one. */
  function refuse(request: IncomingMessage, given: string, why: string, fault: Fault): never {
    const address = addressOf(request.socket);
    const isFew = given === '' || attempts.failed(address);
    refusals.refused({ address, why }, 'request without a good token');
    if (!isFew)
      throw new Fault(
        'API_TOO_MANY_ATTEMPTS',
        `more than ${ATTEMPTS_PER_MINUTE} requests with a wrong token in a minute`,
        { remedy: 'log in with "flopd login", and stop what asks with another token' },
      );
    if (given !== '') audit('access.denied', { address: address ?? null, why });
    throw fault;
  }

  function admit(request: IncomingMessage, caller: Caller): Caller {
    callers.set(request, caller);
    return caller;
  }

  return {
    users,
    denied(request, error) {
      const caller = callers.get(request);
      if (caller === undefined || !(isFault(error, 'API_ROLE') || isFault(error, 'API_NOT_OWNER'))) return;
      // A user who asks again and again fills no disk.
      if (!attempts.failed(`user ${caller.user}`)) return;
      const path = (request.url ?? '').split('?', 1)[0]?.slice(0, 128) ?? '';
      audit('access.denied', { user: caller.user, code: error.code, method: request.method ?? '', path });
    },
    authenticate(request) {
      const given = /^Bearer +(\S+) *$/i.exec(request.headers.authorization ?? '')?.[1] ?? '';
      // All of this is done for every text.
      const isLocal = localToken.matches(given);
      const user = users.byToken(parseToken(given)?.id ?? '');
      const isTheirs = isTokenOf(user?.token?.hash ?? nobody, given);
      if (isLocal) {
        if (isAskedHere(request)) return admit(request, { user: LOCAL_USER, role: 'admin', tokenId: null });
        return refuse(
          request,
          given,
          'the local token from another host',
          new Fault(
            'API_TOKEN_LOCAL',
            "the token of the state directory is good on the scheduler's host only",
            {
              remedy:
                'make a token for this user there: flopd user create NAME --role submitter, and use "flopd login" here',
            },
          ),
        );
      }
      if (user === null || !isTheirs || user.token === null)
        return refuse(
          request,
          given,
          given === '' ? 'no token' : 'unknown token',
          new Fault('API_UNAUTHENTICATED', 'this needs a token of a user of this scheduler', {
            remedy:
              'log in with "flopd login"; on the scheduler\'s host its state directory has one (file scheduler/token)',
          }),
        );
      const problem = problemOf(user);
      if (problem !== null)
        return refuse(
          request,
          given,
          'expired token',
          new Fault('API_TOKEN_EXPIRED', `the token of ${user.name} ${problem}`, {
            remedy: `ask an admin for a new one: flopd user token ${user.name}`,
          }),
        );
      return admit(request, { user: user.name, role: user.role, tokenId: user.token.id });
    },
    hold(caller, may, end) {
      const hold = { caller, may, end };
      holds.add(hold);
      return () => void holds.delete(hold);
    },
    close: () => sweep.cancel(),
  };
}
