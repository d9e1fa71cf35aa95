import { expect, test } from 'vitest';
import type { SignedHead } from '../../../src/protocol/audit.ts';
import { createHeadTeller, HEAD_TELL_MS } from '../../../src/scheduler/head-teller.ts';

test('a node is told at once, then when the log has grown, and not more often than every few minutes', () => {
  let nowMs = 0;
  let head: SignedHead | null = null;
  const teller = createHeadTeller(() => head, { monotonicMs: () => nowMs });
  const written = (body: string): SignedHead => {
    head = { publicKey: 'k', body, signature: 's' };
    return head;
  };
  expect(teller.due()).toEqual({});
  const first = written('1');
  expect(teller.due()).toEqual({ auditHead: first });
  written('2');
  nowMs += HEAD_TELL_MS - 1;
  expect(teller.due()).toEqual({});
  nowMs += 1;
  expect(teller.due()).toEqual({ auditHead: head });
  nowMs += HEAD_TELL_MS;
  expect(teller.due()).toEqual({});
});
