import { expect, test } from 'vitest';
import { createSilentLog } from '../../../src/base/log.ts';
import type { AuditFacts } from '../../../src/protocol/audit.ts';
import { createAttempts } from '../../../src/scheduler/access/attempts.ts';
import { type EnrolParts, enrolNode } from '../../../src/scheduler/enrolment.ts';
import { createHandClock } from '../link/parts.ts';

const request = { version: 1 as const, token: 'the local token', publicKey: 'AAAA', name: 'host' };

/** Only what is looked at before a host is believed. */
function setUp() {
  const clock = createHandClock();
  const refused: object[] = [];
  const audited: AuditFacts[] = [];
  const parts = {
    joinTokens: { find: () => null },
    joinToken: { matches: (text: string) => text === request.token },
    enrolAttempts: createAttempts(clock),
    refusals: { refused: (facts: object) => void refused.push(facts) },
    audit: (_kind: string, facts: AuditFacts) => void audited.push(facts),
    queue: { failure: () => null, nodes: () => [] },
    clock,
    log: createSilentLog(),
  } as unknown as EnrolParts;
  return { parts, refused, audited };
}

const code = (value: string) => expect.objectContaining({ code: value });

test('the token of the state directory is good from this machine, and refused with a remedy elsewhere', async () => {
  const { parts, audited } = setUp();
  // It gets past the token here: the key is what is wrong.
  await expect(enrolNode(request, '127.0.0.1', parts)).rejects.toThrow(code('ENROL_KEY_INVALID'));
  for (const address of ['192.0.2.7', '::ffff:192.0.2.7', '2001:db8::1', undefined])
    await expect(enrolNode(request, address, parts)).rejects.toThrow(
      expect.objectContaining({ code: 'ENROL_TOKEN_LOCAL', remedy: expect.stringContaining('token create') }),
    );
  expect(audited).toHaveLength(4);
  expect(JSON.stringify(audited)).not.toContain(request.token);
});

test('an address that guesses is told to wait, and costs no more lines and records; another is not', async () => {
  const { parts, refused, audited } = setUp();
  const guess = { ...request, token: 'a guess' };
  for (let at = 0; at < 20; at += 1)
    await expect(enrolNode(guess, '192.0.2.7', parts)).rejects.toThrow(code('ENROL_TOKEN_WRONG'));
  for (let at = 0; at < 20; at += 1)
    await expect(enrolNode(guess, '192.0.2.7', parts)).rejects.toThrow(code('ENROL_TOO_OFTEN'));
  expect([refused.length, audited.length]).toEqual([20, 20]);
  await expect(enrolNode(guess, '192.0.2.8', parts)).rejects.toThrow(code('ENROL_TOKEN_WRONG'));
});
