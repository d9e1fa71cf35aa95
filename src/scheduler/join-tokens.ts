// Join tokens: documents of the queue (and in a file beside it: access/accounts.ts), found by their public id, of which
// only the hash of the whole text is kept. A use is counted in memory at once, so that two hosts at the same instant never
// share one, and is on disk before the host is told that it is enrolled.
import * as z from 'zod';
import type { Clock } from '../base/clock.ts';
import { Fault, isFault } from '../base/fault.ts';
import { createToken, hashToken, isTokenOf, parseToken } from '../base/token-text.ts';
import type { AuditSink } from '../protocol/audit.ts';
import type { JoinTokenView, joinTokenRequestSchema } from '../protocol/join-token.ts';
import { labelsSchema, placeSchema } from '../protocol/place.ts';
import type { Queue } from './queue/queue.ts';

const KIND = 'joinToken';
/** Tokens that are kept at a time, those that are good for nothing any more included. */
export const MAX_JOIN_TOKENS = 10_000;
/** How long a token that has run out still stands in the list. */
const KEPT_AFTER_MS = 30 * 24 * 3_600_000;
/** By how much the clock may have gone back since a token was made. */
const SKEW_MS = 60_000;

const recordSchema = z.strictObject({
  id: z.string(),
  hash: z.string(),
  uses: z.number(),
  usesLeft: z.number(),
  expiresAtMs: z.number(),
  labels: labelsSchema,
  place: placeSchema,
  nodeId: z.string().nullable(),
  createdBy: z.string(),
  createdAtMs: z.number(),
  revokedAtMs: z.number().nullable(),
});
export type JoinTokenRecord = z.output<typeof recordSchema>;

export interface JoinTokens {
  /** Resolves when it is on disk. Throws Fault TOKENS_TOO_MANY. */
  create(
    request: z.output<typeof joinTokenRequestSchema>,
    by: string,
  ): Promise<{ readonly text: string; readonly view: JoinTokenView }>;
  /** Newest first. */
  list(): readonly JoinTokenView[];
  /** Throws Fault API_NOT_FOUND. */
  revoke(id: string, by: string): Promise<JoinTokenView>;
  /** The token that this text is, whatever it is still good for; null for any other text. */
  find(text: string): JoinTokenRecord | null;
  /** Throws Fault ENROL_TOKEN_REVOKED, ENROL_TOKEN_EXPIRED or ENROL_TOKEN_USED for one that is good for nothing. */
  requireGood(token: JoinTokenRecord): void;
  /** Takes one use at once; resolves when that is on disk. */
  use(token: JoinTokenRecord): Promise<void>;
  /** The use came to nothing. */
  giveBack(id: string): Promise<void>;
}

export interface JoinTokenParts {
  readonly queue: Pick<Queue, 'documents' | 'putDocument' | 'removeDocument' | 'failure'>;
  readonly clock: Pick<Clock, 'wallMs'>;
  readonly audit: AuditSink;
}

export function createJoinTokens({ queue, clock, audit }: JoinTokenParts): JoinTokens {
  /** Compared with where there is no such token, so that the answer takes the same time. */
  const nobody = hashToken('');

  function record(id: string): JoinTokenRecord | null {
    return recordSchema.safeParse(queue.documents(KIND).get(id)).data ?? null;
  }

  function all(): readonly JoinTokenRecord[] {
    return [...queue.documents(KIND).keys()].flatMap((id) => record(id) ?? []);
  }

  /** `told` writes the decision down, once it holds. */
  async function put(token: JoinTokenRecord, told: () => void = () => {}): Promise<void> {
    try {
      await queue.putDocument(KIND, token.id, token);
    } catch (error) {
      if (isFault(error, 'ACCOUNTS_UNWRITTEN')) told();
      throw error;
    }
    told();
  }

  /** Takes out what has been good for nothing for long. */
  function sweep(): void {
    const beforeMs = clock.wallMs() - KEPT_AFTER_MS;
    // Nobody waits for it: what is not taken out now is the next time.
    for (const { id, expiresAtMs } of all())
      if (expiresAtMs < beforeMs) queue.removeDocument(KIND, id).catch(() => {});
  }

  return {
    async create(request, by) {
      const failure = queue.failure();
      if (failure !== null) throw failure;
      sweep();
      if (queue.documents(KIND).size >= MAX_JOIN_TOKENS)
        throw new Fault('TOKENS_TOO_MANY', `there are ${MAX_JOIN_TOKENS} join tokens already`, {
          remedy: 'make one with more uses in the place of many',
        });
      const { id, text, hash } = createToken('join');
      const { uses, forMs, labels, place, nodeId } = request;
      const nowMs = clock.wallMs();
      const token: JoinTokenRecord = {
        id,
        hash,
        uses,
        usesLeft: uses,
        expiresAtMs: nowMs + forMs,
        labels,
        place,
        nodeId,
        createdBy: by,
        createdAtMs: nowMs,
        revokedAtMs: null,
      };
      await put(token, () =>
        audit('token.created', { token: id, by, uses, expiresAtMs: token.expiresAtMs, nodeId }),
      );
      return { text, view: viewOf(token, nowMs) };
    },
    list: () =>
      [...all()].sort((a, b) => b.createdAtMs - a.createdAtMs).map((token) => viewOf(token, clock.wallMs())),
    async revoke(id, by) {
      const token = record(id);
      if (token === null)
        throw new Fault('API_NOT_FOUND', 'there is no such join token', {
          remedy: 'see "flopd scheduler token list"',
        });
      const revoked = { ...token, revokedAtMs: token.revokedAtMs ?? clock.wallMs() };
      await put(revoked, () => {
        if (token.revokedAtMs === null) audit('token.revoked', { token: id, by });
      });
      return viewOf(revoked, clock.wallMs());
    },
    find(text) {
      const parts = parseToken(text);
      const token = parts?.kind === 'join' ? record(parts.id) : null;
      return isTokenOf(token?.hash ?? nobody, text) ? token : null;
    },
    requireGood(token) {
      const nowMs = clock.wallMs();
      const { state } = viewOf(token, nowMs);
      if (state === 'revoked') throw refused('ENROL_TOKEN_REVOKED', 'the join token was revoked');
      if (state === 'expired')
        throw refused(
          'ENROL_TOKEN_EXPIRED',
          `the join token was good until ${new Date(token.expiresAtMs).toISOString()}`,
        );
      if (token.createdAtMs > nowMs + SKEW_MS)
        throw refused(
          'ENROL_TOKEN_EARLY',
          `the join token is good from ${new Date(token.createdAtMs).toISOString()} on`,
        );
      if (state === 'used')
        throw refused(
          'ENROL_TOKEN_USED',
          token.uses === 1
            ? 'the join token was good for one host, and has been used'
            : `the join token was good for ${token.uses} hosts, and all have joined`,
        );
    },
    use: ({ id }) => {
      const token = record(id);
      if (token === null || token.usesLeft < 1)
        throw refused('ENROL_TOKEN_USED', 'the join token was used just now');
      return put({ ...token, usesLeft: token.usesLeft - 1 });
    },
    async giveBack(id) {
      const token = record(id);
      if (token !== null) await put({ ...token, usesLeft: Math.min(token.uses, token.usesLeft + 1) });
    },
  };
}

function refused(code: string, message: string): Fault {
  return new Fault(code, message, {
    field: 'token',
    remedy: 'ask an admin for another one: flopd scheduler token create',
  });
}

function viewOf(token: JoinTokenRecord, nowMs: number): JoinTokenView {
  const { id, uses, usesLeft, labels, place, nodeId, createdBy } = token;
  const state =
    token.revokedAtMs !== null
      ? 'revoked'
      : token.expiresAtMs <= nowMs
        ? 'expired'
        : usesLeft < 1
          ? 'used'
          : 'good';
  return {
    id,
    state,
    uses,
    usesLeft,
    expiresAt: new Date(token.expiresAtMs).toISOString(),
    labels,
    place,
    nodeId,
    createdBy,
    createdAt: new Date(token.createdAtMs).toISOString(),
    revokedAt: token.revokedAtMs === null ? null : new Date(token.revokedAtMs).toISOString(),
  };
}
