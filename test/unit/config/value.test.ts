import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  formatAddress,
  formatDuration,
  parseAddress,
  parseBytes,
  parseDurationMs,
  parseNumber,
  parseSchedulerUrl,
  ValueProblem,
} from '../../../src/config/value.ts';

const ANY = { min: 0, max: Number.MAX_SAFE_INTEGER };

describe('durations', () => {
  it.each([
    ['100ms', 100],
    ['1s', 1000],
    ['1.5h', 5_400_000],
    ['1h30m', 5_400_000],
    ['2d', 172_800_000],
    ['0', 0],
  ])('reads %s', (text, ms) => {
    expect(parseDurationMs(text, ANY, false)).toBe(ms);
  });

  it('takes a bare number as milliseconds only where that is said', () => {
    expect(parseDurationMs(250, ANY, true)).toBe(250);
    expect(parseDurationMs('250', ANY, true)).toBe(250);
    expect(() => parseDurationMs('250', ANY, false)).toThrow('a duration without a unit');
  });

  it.each(['', 's', '1x', '-1s', '1 s', '1e3s', 'NaN', '1s 2s', '١s', '1h30'])('refuses %j', (text) => {
    expect(() => parseDurationMs(text, ANY, false)).toThrow(ValueProblem);
  });

  it('refuses what lies outside of the range, also when the number overflows', () => {
    expect(() => parseDurationMs('5ms', { min: 10, max: 100 }, false)).toThrow('too small');
    expect(() => parseDurationMs('1s', { min: 10, max: 100 }, false)).toThrow('too large');
    expect(() => parseDurationMs(`${'9'.repeat(400)}d`, ANY, false)).toThrow('too large');
  });

  it('reads back what it writes', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 1e12 }),
        (ms) => parseDurationMs(formatDuration(ms), ANY, false) === ms,
      ),
    );
  });
});

describe('sizes', () => {
  it.each([
    ['512', 512],
    [4096, 4096],
    ['4GiB', 4 * 1024 ** 3],
    ['4g', 4 * 1024 ** 3],
    ['4Gi', 4 * 1024 ** 3],
    ['4GB', 4e9],
    ['1.5 KiB', 1536],
  ])('reads %s', (text, bytes) => {
    expect(parseBytes(text)).toBe(bytes);
  });

  it.each(['', 'GiB', '-1', '0', '1XB', '4 Gi B', '9'.repeat(30), true, null, [], {}])(
    'refuses %j',
    (value) => {
      expect(() => parseBytes(value)).toThrow(ValueProblem);
    },
  );
});

describe('addresses', () => {
  it.each([
    ['127.0.0.1:7070', { host: '127.0.0.1', port: 7070 }],
    ['localhost:0', { host: 'localhost', port: 0 }],
    ['[::1]:0', { host: '::1', port: 0 }],
  ])('reads %s and writes it back', (text, address) => {
    expect(parseAddress(text, 'x:1')).toEqual(address);
    expect(formatAddress(address)).toBe(text);
  });

  it.each([
    '7070',
    ':7070',
    '::1:7070',
    '[::1]',
    '[zz]:1',
    'a:65536',
    'a:-1',
    'a:1 ',
    'a b:1',
    'http://a:1',
    7070,
    null,
  ])('refuses %j', (value) => {
    expect(() => parseAddress(value, '127.0.0.1:7070')).toThrow(ValueProblem);
  });
});

describe('scheduler URLs', () => {
  it('keeps the origin only', () => {
    expect(parseSchedulerUrl('http://127.0.0.1:7070/')).toBe('http://127.0.0.1:7070');
    expect(parseSchedulerUrl('HTTPS://Example:443')).toBe('https://example');
  });

  it.each([
    '127.0.0.1:7070',
    'ftp://a',
    'ws://a',
    'http://u:p@a',
    'http://a/path',
    'http://a/?q=1',
    'http://a/#x',
    '',
    5,
  ])('refuses %j', (value) => {
    expect(() => parseSchedulerUrl(value)).toThrow(ValueProblem);
  });
});

describe('numbers', () => {
  it.each(['', '1e3', '0x10', 'Infinity', 'NaN', '1,5', '--1'])('refuses %j', (text) => {
    expect(() => parseNumber(text, { min: -10, max: 1e6 }, '1')).toThrow(ValueProblem);
  });
});
