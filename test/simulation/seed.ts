// Randomness of a simulation: everything comes from one number, so that it can be played again. Every part draws from
// a stream of its own, so that one draw more here does not change what happens there.

export interface Dice {
  /** Uniform in [0, 1). */
  random(): number;
  /** An integer in [from, to]. */
  between(from: number, to: number): number;
  chance(probability: number): boolean;
  pick<T>(list: readonly T[]): T;
  /** A stream of its own, the same each time for the same words. */
  fork(...words: readonly (string | number)[]): Dice;
}

/** mulberry32: 32 bits of state, good enough to stir events with. */
export function createDice(seed: number): Dice {
  let state = seed >>> 0;
  const random = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  };
  return {
    random,
    between: (from, to) => from + Math.floor(random() * (to - from + 1)),
    chance: (probability) => random() < probability,
    pick<T>(list: readonly T[]): T {
      const picked = list[Math.floor(random() * list.length)];
      if (picked === undefined) throw new Error('nothing to pick from');
      return picked;
    },
    fork: (...words) => createDice(hashOf(seed, words.join('/'))),
  };
}

/** FNV-1a over the words, begun with the seed. */
export function hashOf(seed: number, words: string): number {
  let hash = (0x811c9dc5 ^ seed) >>> 0;
  for (let at = 0; at < words.length; at += 1)
    hash = Math.imul(hash ^ words.charCodeAt(at), 0x01000193) >>> 0;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b) >>> 0;
  return (hash ^ (hash >>> 13)) >>> 0;
}
