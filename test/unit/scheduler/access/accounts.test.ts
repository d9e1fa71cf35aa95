import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createSilentLog } from '../../../../src/base/log.ts';
import { nowhere } from '../../../../src/protocol/place.ts';
import { ACCOUNTS_RETRY_MS } from '../../../../src/scheduler/access/account-file.ts';
import { withAccounts } from '../../../../src/scheduler/access/accounts.ts';
import { createUsers } from '../../../../src/scheduler/access/users.ts';
import { createJoinTokens } from '../../../../src/scheduler/join-tokens.ts';
import type { Queue } from '../../../../src/scheduler/queue/queue.ts';
import { createHandClock } from '../../link/parts.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'flopd-accounts-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

type Entry = readonly ['user' | 'joinToken' | 'nodeHead', string, Record<string, unknown>];

function bench(stored: readonly Entry[], filed: readonly Entry[] | string | null) {
  const path = join(folder, 'accounts.jsonl');
  const lines = (entries: readonly Entry[]): string[] =>
    entries.map(([kind, id, value]) => JSON.stringify({ kind, id, value }));
  if (typeof filed === 'string') writeFileSync(path, filed);
  else if (filed !== null)
    writeFileSync(path, `${[`{"version":1,"entries":${filed.length}}`, ...lines(filed)].join('\n')}\n`);
  const kinds = new Map<string, Map<string, unknown>>();
  const documents = (kind: string) => {
    const known = kinds.get(kind) ?? new Map<string, unknown>();
    kinds.set(kind, known);
    return known;
  };
  for (const [kind, id, value] of stored) documents(kind).set(id, value);
  const queue = {
    documents,
    async putDocument(kind: string, id: string, value: unknown) {
      documents(kind).set(id, value);
    },
    async removeDocument(kind: string, id: string) {
      documents(kind).delete(id);
    },
    close: async () => {},
  } as unknown as Queue;
  const clock = createHandClock();
  const texts: string[] = [];
  let isFailing = false;
  let release: (() => void) | null = null;
  let isHeld = false;
  return {
    clock,
    documents,
    /** Files as they were written; the last one as its lines. */
    texts,
    last: () => texts.at(-1)?.trim().split('\n').slice(1).sort() ?? null,
    lines: (...entries: Entry[]) => lines(entries).sort(),
    fail(failing: boolean) {
      isFailing = failing;
    },
    hold(held: boolean) {
      isHeld = held;
      if (!held) release?.();
    },
    open: () =>
      withAccounts({
        path,
        queue,
        clock,
        log: createSilentLog(),
        async replace(_path, text) {
          if (isHeld) await new Promise<void>((resolve) => (release = resolve));
          if (isFailing) throw Object.assign(new Error('no space'), { code: 'ENOSPC' });
          texts.push(text);
        },
      }),
  };
}

const mei = { name: 'mei', role: 'admin', serial: 3 };
const lin = { name: 'lin', role: 'viewer' };
const token = { id: 'token-a', usesLeft: 2, revokedAtMs: null };

describe('users and join tokens in the store and beside it', () => {
  it('that only the store has are written beside it', async () => {
    const { open, last, lines } = bench(
      [
        ['user', 'lin', lin],
        ['joinToken', 'token-a', token],
        ['nodeHead', 'node-a', {}],
      ],
      null,
    );
    await open();
    expect(last()).toEqual(lines(['user', 'lin', lin], ['joinToken', 'token-a', token]));
  });

  it('that the store has lost are there again, and nothing is written when both agree', async () => {
    const { open, documents, texts } = bench(
      [['user', 'lin', lin]],
      [
        ['user', 'mei', mei],
        ['user', 'lin', lin],
        ['joinToken', 'token-a', token],
      ],
    );
    await open();
    expect([...documents('user').values()]).toEqual([lin, mei]);
    expect(documents('joinToken').get('token-a')).toEqual(token);
    expect(texts).toEqual([]);
  });

  it.each([
    ['a copy of the store from before', { ...mei, role: 'admin', serial: 2 }, mei, mei],
    [
      'a store written to since',
      { ...mei, role: 'viewer', serial: 4 },
      mei,
      { ...mei, role: 'viewer', serial: 4 },
    ],
    ['one written to by an older flopd', { ...mei, role: 'viewer' }, mei, { ...mei, role: 'viewer' }],
    ['one from before there was a file', lin, { ...lin, serial: 1 }, { ...lin, serial: 1 }],
  ])('of %s are what was said last', async (_what, stored, filed, holds) => {
    const { open, documents, last, lines, texts } = bench([['user', 'x', stored]], [['user', 'x', filed]]);
    await open();
    expect(documents('user').get('x')).toEqual(holds);
    if (JSON.stringify(holds) === JSON.stringify(filed)) expect(texts).toEqual([]);
    else expect(last()).toEqual(lines(['user', 'x', holds]));
  });

  it.each([
    [{ ...token, usesLeft: 1 }, token, { ...token, usesLeft: 1 }],
    [token, { ...token, usesLeft: 0 }, { ...token, usesLeft: 0 }],
    [token, { ...token, revokedAtMs: 7 }, { ...token, revokedAtMs: 7 }],
    [
      { ...token, revokedAtMs: 7 },
      { ...token, usesLeft: 1 },
      { ...token, usesLeft: 1, revokedAtMs: 7 },
    ],
  ])('give no use and no revocation of a join token back: %j and %j', async (stored, filed, holds) => {
    const { open, documents } = bench([['joinToken', 'token-a', stored]], [['joinToken', 'token-a', filed]]);
    await open();
    expect(documents('joinToken').get('token-a')).toEqual(holds);
  });

  it('are promised when they are in both; many at once share a writing', async () => {
    const { open, last, lines, texts, hold, documents } = bench([], null);
    const queue = await open();
    hold(true);
    const first = queue.putDocument('user', 'mei', mei);
    const isBefore = await Promise.race([
      first,
      new Promise((resolve) => setImmediate(() => resolve('waits'))),
    ]);
    expect(isBefore).toBe('waits');
    expect(documents('user').get('mei')).toBe(mei);
    const others = Array.from({ length: 50 }, (_, at) =>
      queue.putDocument('joinToken', `token-${at}`, token),
    );
    const gone = queue.removeDocument('joinToken', 'token-7');
    const apart = queue.putDocument('nodeHead', 'node-a', {});
    await apart;
    hold(false);
    await Promise.all([first, ...others, gone]);
    expect(texts).toHaveLength(2);
    expect(last()).toHaveLength(50);
    expect(last()).toEqual(expect.arrayContaining(lines(['user', 'mei', mei])));
    await queue.close();
  });

  it('that cannot be written are refused, hold all the same, and are written as soon as that works', async () => {
    const { open, documents, fail, clock, texts, last, lines } = bench([['user', 'lin', lin]], null);
    fail(true);
    const queue = await open();
    await expect(queue.putDocument('user', 'mei', mei)).rejects.toMatchObject({
      code: 'ACCOUNTS_UNWRITTEN',
      remedy: expect.stringContaining('free space'),
    });
    expect(documents('user').get('mei')).toEqual(mei);
    await clock.advance(ACCOUNTS_RETRY_MS);
    expect(texts).toEqual([]);
    fail(false);
    await clock.advance(ACCOUNTS_RETRY_MS);
    expect(last()).toEqual(lines(['user', 'lin', lin], ['user', 'mei', mei]));
    expect(clock.pending()).toBe(0);
    fail(true);
    await expect(queue.removeDocument('user', 'mei')).rejects.toMatchObject({ code: 'ACCOUNTS_UNWRITTEN' });
    fail(false);
    await queue.close();
    expect(last()).toEqual(lines(['user', 'lin', lin]));
  });

  it.each([
    ['', 'first line'],
    ['\0\0\0\0', 'first line'],
    ['{"version":2,"entries":0}\n', 'first line'],
    ['{"version":1,"entries":2}\n{"kind":"user","id":"a","value":{}}\n', '1 entries of 2'],
    ['{"version":1,"entries":1}\n{"kind":"user","id":"a","va', '0 entries of 1'],
    ['{"version":1,"entries":1}\n{"kind":"nodeHead","id":"a","value":{}}\n', 'line 2'],
    ['{"version":1,"entries":1}\n{"kind":"user","id":"a","value":3}\n', 'line 2'],
  ])('in a damaged file keep the scheduler from starting: %j', async (text, why) => {
    await expect(bench([], text).open()).rejects.toMatchObject({
      code: 'SCHEDULER_ACCOUNTS_DAMAGED',
      message: expect.stringContaining(why),
      remedy: expect.stringContaining('restore it'),
    });
  });

  it('that hold though the file cannot be written are in the audit log like others', async () => {
    const at = bench([], null);
    const queue = Object.assign(await at.open(), { failure: () => null });
    const kinds: string[] = [];
    const audit = (kind: string): void => void kinds.push(kind);
    const clock = { ...at.clock, wallMs: () => 1000 };
    const users = createUsers({
      ...{ schedulerId: 'scheduler-1', queue, clock, audit },
      localKey: null,
      changed() {},
    });
    const tokens = createJoinTokens({ queue, clock, audit });
    at.fail(true);
    const unwritten = { code: 'ACCOUNTS_UNWRITTEN' };
    await expect(users.create({ name: 'mei', role: 'viewer' }, 'local')).rejects.toMatchObject(unwritten);
    await expect(users.setRole('mei', 'admin', 'local')).rejects.toMatchObject(unwritten);
    expect(users.get('mei')?.role).toBe('admin');
    await expect(users.revoke('mei', 'local')).rejects.toMatchObject(unwritten);
    const request = { uses: 1, forMs: 1000, labels: {}, place: nowhere, nodeId: null };
    await expect(tokens.create(request, 'local')).rejects.toMatchObject(unwritten);
    await expect(tokens.revoke(tokens.list()[0]?.id ?? '', 'local')).rejects.toMatchObject(unwritten);
    expect(kinds).toEqual(['user.created', 'user.changed', 'user.revoked', 'token.created', 'token.revoked']);
    await queue.close();
  });
});
