import { describe, expect, test } from 'vitest';
import type { AuditFacts } from '../../../src/protocol/audit.ts';
import { joinTokenRequestSchema } from '../../../src/protocol/join-token.ts';
import { createJoinTokens, MAX_JOIN_TOKENS } from '../../../src/scheduler/join-tokens.ts';

const DAY_MS = 86_400_000;

function setUp() {
  const documents = new Map<string, unknown>();
  const recorded: { kind: string; facts: AuditFacts }[] = [];
  let nowMs = 1.7e12;
  const queue = {
    documents: () => documents,
    async putDocument(_kind: string, id: string, value: unknown) {
      documents.set(id, JSON.parse(JSON.stringify(value)));
    },
    async removeDocument(_kind: string, id: string) {
      documents.delete(id);
    },
    failure: () => null,
  };
  const tokens = createJoinTokens({
    queue,
    clock: { wallMs: () => nowMs },
    audit: (kind, facts) => void recorded.push({ kind, facts }),
  });
  const create = (request: object = {}) => tokens.create(joinTokenRequestSchema.parse(request), 'alice');
  const pass = (ms: number): void => {
    nowMs += ms;
  };
  return { documents, recorded, tokens, create, pass };
}

const code = (value: string) =>
  expect.objectContaining({ code: value, remedy: expect.stringContaining('token create') });

describe('join tokens', () => {
  test('are good for one use and an hour, unless said', async () => {
    const { tokens, create, pass } = setUp();
    const { text, view } = await create();
    expect(view).toMatchObject({ state: 'good', uses: 1, usesLeft: 1, createdBy: 'alice', nodeId: null });
    const token = tokens.find(text);
    if (token === null) throw new Error('it is not found');
    tokens.requireGood(token);
    pass(3_600_000 - 1);
    tokens.requireGood(token);
    pass(1);
    expect(() => tokens.requireGood(token)).toThrow(code('ENROL_TOKEN_EXPIRED'));
    expect(tokens.list()).toMatchObject([{ state: 'expired' }]);
  });

  test('are used up at once, before it is on disk, and given back when nothing came of it', async () => {
    const { tokens, create } = setUp();
    const { text, view } = await create({ uses: 2 });
    const token = tokens.find(text);
    if (token === null) throw new Error('it is not found');
    const uses = [tokens.use(token), tokens.use(token)];
    expect(() => tokens.use(token)).toThrow(code('ENROL_TOKEN_USED'));
    await Promise.all(uses);
    expect(tokens.list()).toMatchObject([{ state: 'used', usesLeft: 0 }]);
    await tokens.giveBack(view.id);
    await tokens.giveBack('unknown');
    expect(tokens.list()).toMatchObject([{ state: 'good', usesLeft: 1 }]);
  });

  test('of a clock that has gone back by more than a minute are not good yet', async () => {
    const { tokens, create, pass } = setUp();
    const { text } = await create();
    const token = tokens.find(text);
    if (token === null) throw new Error('it is not found');
    pass(-59_000);
    tokens.requireGood(token);
    pass(-2000);
    expect(() => tokens.requireGood(token)).toThrow(code('ENROL_TOKEN_EARLY'));
  });

  test('are found by their whole text alone, and a revoked one is good for nothing', async () => {
    const { tokens, create, documents } = setUp();
    const { text, view } = await create();
    for (const wrong of ['', text.slice(0, -1), `${text}A`, text.replace('join', 'user')])
      expect(tokens.find(wrong)).toBeNull();
    expect(JSON.stringify([...documents.values()])).not.toContain(text.slice(-43));
    expect(await tokens.revoke(view.id, 'bob')).toMatchObject({ state: 'revoked' });
    const token = tokens.find(text);
    if (token === null) throw new Error('it is not found');
    expect(() => tokens.requireGood(token)).toThrow(code('ENROL_TOKEN_REVOKED'));
    await expect(tokens.revoke('nobody', 'bob')).rejects.toThrow(
      expect.objectContaining({ code: 'API_NOT_FOUND' }),
    );
  });

  test('that have long run out make room; more than a bound are not made', async () => {
    const { tokens, create, documents, pass } = setUp();
    await create();
    pass(31 * DAY_MS + 3_600_001);
    await create();
    expect(documents.size).toBe(1);
    for (let at = documents.size; at < MAX_JOIN_TOKENS; at += 1) documents.set(`filled-${at}`, {});
    await expect(create()).rejects.toThrow(expect.objectContaining({ code: 'TOKENS_TOO_MANY' }));
    // What is no token of ours is not shown as one.
    expect(tokens.list()).toHaveLength(1);
  });

  test('leave a record of who made and who revoked them, without the secret', async () => {
    const { create, tokens, recorded } = setUp();
    const { text, view } = await create({ uses: 3 });
    await tokens.revoke(view.id, 'bob');
    await tokens.revoke(view.id, 'carol');
    expect(recorded.map(({ kind, facts }) => [kind, facts.by])).toEqual([
      ['token.created', 'alice'],
      ['token.revoked', 'bob'],
    ]);
    expect(JSON.stringify(recorded)).not.toContain(text.slice(-43));
  });
});
