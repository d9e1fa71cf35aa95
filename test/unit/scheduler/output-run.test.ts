import { expect, test } from 'vitest';
import { type Chunk, joined, lengthOf, nextRun } from '../../../src/scheduler/output-run.ts';

const chunk = (offset: number, length: number): Chunk => ({
  offset,
  bytes: Buffer.alloc(length, offset % 251),
  held: false,
  done() {},
});

test('chunks that follow one another go together, up to a bound; others wait for the next turn', () => {
  const queue = [chunk(0, 10), chunk(10, 5), chunk(20, 1), chunk(21, 1), chunk(5, 10)];
  const runs: number[][] = [];
  while (queue.length > 0) runs.push(nextRun(queue).map(({ offset }) => offset));
  expect(runs).toEqual([[0, 10], [20, 21], [5]]);
  const many = Array.from({ length: 40 }, (_, at) => chunk(at * 65_536, 65_536));
  const first = nextRun(many);
  expect(lengthOf(first)).toBe(1024 * 1024);
  expect(many).toHaveLength(24);
  expect(joined(first).length).toBe(lengthOf(first));
  expect(nextRun([])).toEqual([]);
});

test('one that is longer than the bound goes alone', () => {
  const queue = [chunk(0, 2 * 1024 * 1024), chunk(2 * 1024 * 1024, 1)];
  expect(nextRun(queue)).toHaveLength(1);
  expect(queue).toHaveLength(1);
});
