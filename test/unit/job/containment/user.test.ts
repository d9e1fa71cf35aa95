import { expect, test } from 'vitest';
import { chooseUser, mapsRange } from '../../../../src/job/containment/user.ts';

const range = { from: 100, to: 103 };

test('each job gets an id that no other holds, and one that was just given back comes last', () => {
  const held = new Set<number>();
  let last: number | null = null;
  const given: (number | null)[] = [];
  for (let i = 0; i < 5; i++) {
    const id = chooseUser(range, held, last);
    given.push(id);
    if (id !== null) held.add(id);
    last = id ?? last;
  }
  expect(given).toEqual([100, 101, 102, 103, null]);
  held.delete(103);
  held.delete(101);
  expect(chooseUser(range, held, 103)).toBe(101);
  expect(chooseUser(range, held, 101)).toBe(103);
});

test('ids outside the range do not confuse it', () => {
  expect(chooseUser(range, new Set([1, 2, 3, 99]), 7)).toBe(100);
  expect(chooseUser(range, new Set([100, 0]), -1)).toBe(101);
  expect(chooseUser({ from: 5, to: 5 }, new Set(), 5)).toBe(5);
});

test('a user namespace that lacks ids of the range is seen', () => {
  expect(mapsRange('         0          0 4294967295\n', range)).toBe(true);
  expect(mapsRange('         0     100000      65536\n', { from: 2_000_000_000, to: 2_000_000_001 })).toBe(
    false,
  );
  expect(mapsRange('0 1000 1\n100 5000 4\n', range)).toBe(true);
  expect(mapsRange('100 5000 3\n', range)).toBe(false);
  expect(mapsRange('', range)).toBe(false);
});
