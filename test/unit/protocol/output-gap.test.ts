import { expect, test } from 'vitest';
import { describeGap, storedGaps } from '../../../src/protocol/output-gap.ts';

test('gaps lie where the bytes after them are kept, whatever was left out before', () => {
  const placed = storedGaps([
    { stream: 'stdout', fromByte: 1000, toByte: 5000, reason: 'quota' },
    { stream: 'stdout', fromByte: 100, toByte: 300, reason: 'disk' },
    { stream: 'stderr', fromByte: 50, toByte: 60, reason: 'lost' },
    { stream: 'stderr', fromByte: 70, toByte: 70, reason: 'lost' },
  ]);
  expect(placed.map(({ stream, atByte }) => [stream, atByte])).toEqual([
    ['stderr', 50],
    ['stdout', 100],
    ['stdout', 800],
  ]);
});

test('a gap is told as "here" at its place, and by its place to whoever has passed it', () => {
  const [gap] = storedGaps([{ stream: 'stdout', fromByte: 10, toByte: 30, reason: 'quota' }]);
  if (gap === undefined) throw new Error('no gap');
  const size = (bytes: number) => `${bytes} B`;
  expect(describeGap(gap, 10, size)).toBe('20 B of stdout left out here by its quota');
  expect(describeGap(gap, 15, size)).toBe('20 B of stdout left out after the first 10 B by its quota');
});
