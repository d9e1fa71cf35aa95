import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createId } from '../../../src/base/id.ts';
import {
  formatIndices,
  isArrayId,
  memberId,
  memberPrefix,
  namesArray,
  parseIndices,
  parseMemberName,
} from '../../../src/protocol/array.ts';

describe('names of the jobs of an array', () => {
  it('begin with what the array is called, and can be told from the start of any other id', () => {
    const id = createId('arr');
    expect(isArrayId(id)).toBe(true);
    expect(memberId(id, 12)).toBe(`${memberPrefix(id)}12`);
    expect(memberId(id, 12)).toMatch(/^job-[0-9a-z]{10}i12$/);
    expect(isArrayId(createId('job'))).toBe(false);
  });

  it.each([
    ['arr-7k3m9q2x4t.3', { arrayId: 'arr-7k3m9q2x4t', index: 3 }],
    ['arr-7k3m[0]', { arrayId: 'arr-7k3m', index: 0 }],
    ['arr-7k3m', null],
    ['arr-7k3m.', null],
    ['arr-7k3m[1', null],
    ['arr-7k3m.-1', null],
    ['arr-7k3m.99999999', null],
    ['job-7k3m.3', null],
  ])('%s is read', (text, meant) => {
    expect(parseMemberName(text)).toEqual(meant);
    expect(namesArray(text)).toBe(text === 'arr-7k3m');
  });
});

describe('lists of indices', () => {
  it('come back as they were', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.nat(2000), { maxLength: 200 }), (numbers) => {
        const ascending = [...numbers].sort((a, b) => a - b);
        expect(parseIndices(formatIndices(ascending), 200)).toEqual(ascending);
      }),
    );
    expect(formatIndices([0, 1, 2, 5, 7, 8])).toBe('0-2,5,7-8');
  });

  it.each([
    ['0-9', 9],
    ['3-1', 100],
    ['-1', 100],
    ['a', 100],
    ['1,', 100],
    ['1-9999999', 100],
    ['1 ,2', 100],
  ])('refuses %s with at most %i', (text, limit) => {
    expect(parseIndices(text, limit)).toBeNull();
  });
});
