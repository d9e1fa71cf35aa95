import { expect, it } from 'vitest';
import { nearestWord } from '../../../src/config/nearest.ts';

it.each([
  ['lisen', 'listen'],
  ['state-dir', 'stateDir'],
  ['LISTEN', 'listen'],
  ['ilsten', 'listen'],
])('finds that %s means %s', (word, meant) => {
  expect(nearestWord(word, ['stateDir', 'listen', 'scheduler'])).toBe(meant);
});

it('finds nothing for a word that is not near to any', () => {
  expect(nearestWord('x', ['stateDir', 'listen'])).toBeNull();
  expect(nearestWord('completely-else', ['stateDir', 'listen'])).toBeNull();
});
