// What one client of a command beside a job can make the session of a node carry.
import { expect, test } from 'vitest';
import { createExecBudget } from '../../../src/scheduler/exec-budget.ts';
import { createHandClock } from '../link/parts.ts';

test('signals and sizes are bounded in number, and come back with time', () => {
  const clock = createHandClock();
  const budget = createExecBudget(clock);
  const sent = (): number => Array.from({ length: 5000 }, () => budget.control()).filter(Boolean).length;
  expect(sent()).toBe(500);
  expect(sent()).toBe(0);
});

test('credit byte by byte is passed on in steps, and none of it is kept back in the end', () => {
  const budget = createExecBudget(createHandClock());
  const told: number[] = [];
  for (let left = 9999; left >= 0; left -= 1) {
    const bytes = budget.credit(1, left);
    if (bytes > 0) told.push(bytes);
  }
  expect(told).toEqual([4096, 4096, 1808]);
  expect(budget.credit(5, 0)).toBe(5);
});

test('input byte by byte is bounded in pieces until the node takes some', () => {
  const budget = createExecBudget(createHandClock());
  let pieces = 0;
  while (budget.piece()) pieces += 1;
  expect(pieces).toBe(8192);
  budget.taken(10);
  expect(budget.piece()).toBe(true);
});
