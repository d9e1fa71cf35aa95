import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseMeter } from '../../../src/job/meter.ts';

describe('meter file', () => {
  test.each<[string, string, number | null, number | null, boolean]>([
    ['one line', 'flop=2e9 seconds=0.5 precision=fp64\n', 2e9, 0.5, false],
    ['several lines add up', 'flop=1 seconds=2\nflop=3 seconds=4\n', 4, 6, false],
    ['one line without seconds leaves them unknown', 'flop=1 seconds=2\nflop=3\n', 4, null, false],
    ['no newline at the end', 'flop=7 seconds=1', 7, 1, false],
    ['an empty file', '', null, null, false],
    ['garbage only', 'hello\n', null, null, true],
    ['garbage beside a good line', '\u0000\nflop=5 seconds=1\n', 5, 1, true],
    [
      'negative, infinite, hexadecimal and not-a-number',
      'flop=-1\nflop=Infinity\nflop=0x10\nflop=NaN\nflop=1e999\nflop=\n',
      null,
      null,
      true,
    ],
    ['a sum that overflows', 'flop=1e308\nflop=1e308\n', 1e308, null, true],
    ['a field given twice', 'flop=1 flop=2\n', null, null, true],
    ['a false precision', 'flop=1 precision=a"b\n', null, null, true],
    ['zero', 'flop=0 seconds=0\n', 0, 0, false],
  ])('%s', (_, text, flop, seconds, hasProblem) => {
    const reading = parseMeter(text, false);
    expect([reading.flop, reading.seconds, reading.problem !== null]).toEqual([flop, seconds, hasProblem]);
  });

  test('a file that is too long is read without its cut last line, and says so', () => {
    expect(parseMeter('flop=1 seconds=1\nflop=99', true)).toMatchObject({ flop: 1, seconds: 1 });
    expect(parseMeter('flop=1 seconds=1\nflop=99', true).problem).toContain('longer');
  });

  test('anything at all gives a finite sum or none', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom('f', 'l', 'o', 'p', '=', '1', 'e', '9', ' ', '\n', '-', '.') }),
        (text) => {
          const { flop, seconds } = parseMeter(text, false);
          expect(flop === null || (Number.isFinite(flop) && flop >= 0)).toBe(true);
          expect(seconds === null || (Number.isFinite(seconds) && seconds >= 0)).toBe(true);
        },
      ),
    );
  });
});
