// A short run of every target, always with the same seed: test/fuzz/run.mjs goes on from there for as long as one likes.
import { describe, expect, it } from 'vitest';
import { Fault } from '../../../src/base/fault.ts';
import { fuzz, shownInput } from '../../fuzz/fuzzer.ts';
import { bytesOf, type Target, textOf } from '../../fuzz/target.ts';
import { createTargets } from '../../fuzz/targets.ts';

const SEED = 20_261_128;
const ROUNDS = 200;

describe('mutants of good input', () => {
  it.each(createTargets().map((target) => [target.name, target] as const))(
    '%s: an answer or a fault of its own, soon, and nothing else',
    async (_, target) => {
      const { finds, rounds } = await fuzz(target, { seed: SEED, rounds: ROUNDS * (target.weight ?? 1) });
      expect(rounds).toBeGreaterThan(0);
      expect(finds.map((find) => `${find.problem} (seed ${SEED}): ${shownInput(find)}`)).toEqual([]);
    },
    60_000,
  );
});

describe('the fuzzer', () => {
  const target = (read: Target['read'], more: Partial<Target> = {}): Target => ({
    name: 'test-only',
    faults: /^GOOD$/,
    seeds: () => [bytesOf('{"a":[1,2],"b":"text"}')],
    read,
    ...more,
  });
  const problems = async (one: Target): Promise<string[]> =>
    (await fuzz(one, { seed: 1, rounds: 200 })).finds.map(({ problem }) => problem);

  it('gives the same mutants for the same seed', async () => {
    const [first, second]: string[][] = [[], []];
    for (const seen of [first, second])
      await fuzz(
        target((input) => seen?.push(textOf(input))),
        { seed: 7, rounds: 100 },
      );
    expect(first).toEqual(second);
    expect(new Set(first).size).toBeGreaterThan(80);
  });

  it('finds what is thrown, and what a fault should not be', async () => {
    expect(await problems(target((input) => JSON.parse(textOf(input))))).toContainEqual(
      expect.stringContaining('threw SyntaxError'),
    );
    const refuse = (code: string) => () => {
      throw new Fault(code, 'no');
    };
    expect(await problems(target(refuse('GOOD')))).toEqual([]);
    expect(await problems(target(refuse('OTHER')))).toEqual([
      'refused with the code OTHER, which is none of its own',
    ]);
  });

  it('finds a changed prototype, an answer out of proportion, and one that cannot be', async () => {
    const prototype = Object.prototype as { polluted?: boolean };
    const polluter = target(() => {
      prototype.polluted = true;
    });
    expect(await problems(polluter)).toEqual(['changed the prototype of all objects']);
    delete prototype.polluted;
    expect(await problems(target(() => 'x'.repeat(10_000_000)))).toEqual([expect.stringContaining('made 1')]);
    const check = (): void => {
      throw new Error('never');
    };
    expect(await problems(target(() => 1, { check }))).toEqual(['made what cannot be: never']);
  });
});
