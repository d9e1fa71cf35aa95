import { describe, expect, it } from 'vitest';
import {
  builtInCorridors,
  CorridorProblem,
  formatCorridor,
  parseCorridor,
} from '../../../src/protocol/corridor.ts';
import { jurisdictionProblem } from '../../../src/protocol/jurisdiction.ts';

describe('corridors', () => {
  it('are read as they are written, and written as they are read', () => {
    for (const text of ['DE, FR > CH', 'CN-GD/Shenzhen <> HK', 'CN-GD/深圳, HK > SG; without filing'])
      expect(formatCorridor(parseCorridor('one', text))).toBe(text);
    expect(parseCorridor('one', 'DE>CH; with filing')).toMatchObject({ bothWays: false, filing: 'required' });
  });

  it.each([
    ['DE', 'no ">"'],
    ['DE > CH > FR', 'no ">"'],
    ['de > CH', 'no place'],
    ['DE > ', 'no place'],
    ['CN-HK > CN', 'no place'],
    ['CN-GD/ <> HK', 'no place'],
    ['DE > CH; perhaps', 'may stand'],
    ['DE > CH; with filing; without filing', 'may stand'],
  ])('refuse %s', (text, why) => {
    expect(() => parseCorridor('one', text)).toThrow(CorridorProblem);
    expect(() => parseCorridor('one', text)).toThrow(why);
  });

  it('have names that are words', () => {
    expect(() => parseCorridor('__proto__', 'DE > CH')).toThrow(CorridorProblem);
  });

  it('that are built in name real places, a source, and never a way without a filing', () => {
    for (const { from, to, source, filing } of builtInCorridors) {
      for (const { jurisdiction } of [...from, ...to]) expect(jurisdictionProblem(jurisdiction)).toBeNull();
      expect(source).toMatch(/\d{4}/);
      expect(filing).toBe('required');
    }
  });
});
