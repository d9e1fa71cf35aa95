import { expect, test } from 'vitest';
import { createFileTickets } from '../../../src/scheduler/file-tickets.ts';
import { createProgressBoard } from '../../../src/scheduler/progress.ts';

test('what an attempt does is told of that attempt alone, while it is being started', () => {
  const board = createProgressBoard();
  board.put('job-1', 2, 'fetching inputs, 1 MB of 2 MB');
  const job = { id: 'job-1', epoch: 2, state: 'STARTING' } as const;
  expect(board.of(job)).toBe('fetching inputs, 1 MB of 2 MB');
  expect(board.of({ ...job, id: 'job-2' })).toBeNull();
  expect(board.of({ ...job, state: 'RUNNING' })).toBeNull();
  expect(board.of(job)).toBeNull();
  board.put('job-1', 2, 'late');
  expect(board.of({ ...job, epoch: 3 })).toBeNull();
});

test('a ticket names its node until it is revoked', () => {
  const tickets = createFileTickets();
  const one = tickets.issue('node-1');
  const two = tickets.issue('node-2');
  expect(one.text).not.toBe(two.text);
  expect([one.text, two.text, '', `${one.text}x`].map(tickets.nodeOf)).toEqual([
    'node-1',
    'node-2',
    null,
    null,
  ]);
  one.revoke();
  expect([one.text, two.text].map(tickets.nodeOf)).toEqual([null, 'node-2']);
});
