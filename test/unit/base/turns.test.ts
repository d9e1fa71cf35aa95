import { describe, expect, it } from 'vitest';
import { createTurnstile, inSlices, nextTurn } from '../../../src/base/turns.ts';

describe('slices of long work', () => {
  it('does few items before it returns', () => {
    const seen: number[] = [];
    void inSlices([1, 2, 3], 3, (some) => seen.push(...some));
    expect(seen).toEqual([1, 2, 3]);
  });

  it('does many in their order, and lets others have a turn after each slice', async () => {
    const seen: string[] = [];
    const work = inSlices([1, 2, 3, 4, 5], 2, (some) => seen.push(some.join('')));
    const others = (async () => {
      for (let turn = 0; turn < 2; turn += 1) {
        await nextTurn();
        seen.push('other');
      }
    })();
    await Promise.all([work, others]);
    expect(seen).toEqual(['12', '34', 'other', '5', 'other']);
  });

  it('does nothing for no items, and stops at what the work throws', async () => {
    const seen: number[] = [];
    await inSlices([], 2, () => seen.push(0));
    const failed = inSlices([1, 2, 3], 1, ([one]) => {
      if (one === 2) throw new Error('no');
      seen.push(one ?? 0);
    });
    await expect(failed).rejects.toThrow('no');
    expect(seen).toEqual([1]);
  });
});

describe('a turnstile', () => {
  it('lets in what its budget allows, and the rest in later turns, in order', async () => {
    let nowMs = 0;
    const seen: number[] = [];
    const turnstile = createTurnstile(10, { monotonicMs: () => nowMs });
    for (let at = 0; at < 5; at += 1)
      turnstile.pass(() => {
        seen.push(at);
        nowMs += 6;
      });
    expect(seen).toEqual([0, 1]);
    await nextTurn();
    expect(seen).toEqual([0, 1, 2, 3]);
    turnstile.pass(() => seen.push(5));
    await nextTurn();
    expect(seen).toEqual([0, 1, 2, 3, 4, 5]);
    await nextTurn();
    turnstile.pass(() => seen.push(6));
    expect(seen.at(-1)).toBe(6);
  });
});
