// A few hundred histories of agents, link and scheduler, each from its seed: `node test/simulation/run.mjs --seed N`
// plays one again and shows every fact of it.
import { describe, expect, test } from 'vitest';
import { lineOf } from '../../campaign/history.ts';
import { playClone } from '../../simulation/clone.ts';
import { makeKeys } from '../../simulation/keys.ts';
import { playSeed } from '../../simulation/world.ts';

const keys = makeKeys();
const HISTORIES = 200;
const CLONES = 30;

async function play(seeds: readonly number[]): Promise<void> {
  let starts = 0;
  for (const seed of seeds) {
    const { violations, facts } = await playSeed(seed, keys);
    expect(violations, `node test/simulation/run.mjs --seed ${seed}`).toEqual([]);
    starts += facts.filter(({ kind }) => kind === 'start').length;
  }
  expect(starts).toBeGreaterThan(seeds.length);
}

describe('whatever goes wrong, no job is lost, doubled or wrongly reported', () => {
  test(`in ${HISTORIES} histories`, { timeout: 120_000 }, () =>
    play(Array.from({ length: HISTORIES }, (_, at) => at + 1)),
  );

  // 4, 13 and 24 started a job twice once.
  test('where a copy of an agent comes while that is stopped with an order', {
    timeout: 60_000,
  }, async () => {
    for (let seed = 1; seed <= CLONES; seed += 1) {
      const { violations } = await playClone(seed, keys);
      expect(violations, `node test/simulation/run.mjs --clone --seed ${seed}`).toEqual([]);
    }
  });

  // Each of these found a fault once.
  test('in those that found something before', { timeout: 60_000 }, () =>
    play([27, 63, 1155, 1829, 2475, 10726]),
  );
});

test('a seed is the same history each time', async () => {
  const tell = async (): Promise<string> => {
    const names = new Map<string, string>();
    const { facts } = await playSeed(911, keys);
    // Ids are drawn anew; everything else is the seed's.
    return facts
      .map(lineOf)
      .join('\n')
      .replace(/\b(?:job|order|session)-[0-9a-z]+/g, (id) => {
        if (!names.has(id)) names.set(id, `id-${names.size}`);
        return names.get(id) ?? '';
      });
  };
  expect(await tell()).toBe(await tell());
});
