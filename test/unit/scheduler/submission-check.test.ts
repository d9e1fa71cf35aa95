import { expect, test } from 'vitest';
import { isFault } from '../../../src/base/fault.ts';
import { ORDER_SKEW_MS } from '../../../src/protocol/order.ts';
import { parseJson } from '../../../src/scheduler/json.ts';
import type { JobRecord } from '../../../src/scheduler/queue/queue.ts';
import { createSubmissionCheck } from '../../../src/scheduler/submission-check.ts';
import { createFakeKey, signSubmission } from '../../fakes/signer.ts';
import { jobRecord } from './records.ts';

const alice = createFakeKey();
const text = '{"version":1,"command":["true"]}';
const time = { nowMs: 1_795_000_000_000 };
const clock = { wallMs: () => time.nowMs, monotonicMs: () => 0, after: () => ({ cancel() {} }) };

function open(jobs: readonly JobRecord[] = []) {
  const check = createSubmissionCheck({
    schedulerId: 'scheduler-1',
    queue: { jobs: () => jobs },
    hasKey: (user, publicKey) => user === 'alice' && publicKey === alice.publicKey,
    clock,
  });
  return (headers: Record<string, string>, of = text, user = 'alice') => {
    try {
      return check.check(headers, of, user);
    } catch (error) {
      if (isFault(error)) return error.code;
      throw error;
    }
  };
}

function headersOf(of = text, atMs = time.nowMs, key = alice) {
  const { publicKey, signedAtMs, signature } = signSubmission(key, 'scheduler-1', of, atMs);
  return { 'flopd-key': publicKey, 'flopd-signed-at': String(signedAtMs), 'flopd-signature': signature };
}

test('is taken as it was signed, once; what was not signed is none', () => {
  const check = open();
  expect(check({})).toBeNull();
  const headers = headersOf();
  expect(check(headers)).toMatchObject({ text, publicKey: alice.publicKey, signedAtMs: time.nowMs });
  expect(check(headers)).toBe('SUBMISSION_REPEATED');
  time.nowMs += 1;
  expect(check(headersOf())).toMatchObject({ text });
});

test('is refused where anything does not fit, never taken as unsigned', () => {
  const check = open();
  time.nowMs += 1000;
  const headers = headersOf();
  expect(check({ 'flopd-key': headers['flopd-key'] })).toBe('SUBMISSION_HEADERS');
  expect(check({ ...headers, 'flopd-signed-at': 'now' })).toBe('SUBMISSION_HEADERS');
  expect(check({ ...headers, 'flopd-signature': 'x' })).toBe('SUBMISSION_HEADERS');
  expect(check(headers, `${text} `)).toBe('SUBMISSION_SIGNATURE');
  expect(check({ ...headers, 'flopd-signed-at': String(time.nowMs - 1) })).toBe('SUBMISSION_SIGNATURE');
  expect(check(headers, text, 'bob')).toBe('SUBMISSION_KEY_UNKNOWN');
  expect(check(headersOf(text, time.nowMs, createFakeKey()))).toBe('SUBMISSION_KEY_UNKNOWN');
  expect(check(headersOf(text, time.nowMs - ORDER_SKEW_MS - 1))).toBe('SUBMISSION_CLOCK');
  expect(check(headersOf(text, time.nowMs + ORDER_SKEW_MS + 1))).toBe('SUBMISSION_CLOCK');
  expect(check(headers)).toMatchObject({ text });
});

test('is not made again at a scheduler that was restarted', () => {
  time.nowMs += 1000;
  const headers = headersOf();
  const submission = open()(headers);
  if (submission === null || typeof submission === 'string') throw new Error('it was refused');
  expect(open([jobRecord({ submission })])(headers)).toBe('SUBMISSION_REPEATED');
  // More jobs than are looked through: nothing that was signed before the start.
  const many = Array.from({ length: 10_000 }, () => jobRecord({ submittedAtMs: time.nowMs }));
  const check = open(many);
  time.nowMs += 10;
  expect(check(headersOf(text, time.nowMs - 20))).toBe('SUBMISSION_REPEATED');
  expect(check(headersOf())).toMatchObject({ text });
});

test('that no node would read is refused: it would go from node to node, and each would pause for it', () => {
  const check = open();
  time.nowMs += 1000;
  const deep = `{"version":1,"name":${'['.repeat(20)}${']'.repeat(20)},"name":null,"command":["true"]}`;
  expect(JSON.parse(deep)).toMatchObject({ name: null });
  expect(check(headersOf(deep), deep)).toBe('API_JSON');
});

test('a byte order mark is no JSON: a node would not read it', () => {
  const bytes = Buffer.from(`\ufeff${text}`);
  expect(() => parseJson(bytes, 'API')).toThrow(expect.objectContaining({ code: 'API_JSON' }));
});
