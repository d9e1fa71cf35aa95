import { expect, test } from 'vitest';
import {
  createToken,
  hashToken,
  isTokenOf,
  parseToken,
  splitPin,
  tokenKinds,
  withPin,
} from '../../../src/base/token-text.ts';

const PIN = 'sha256-A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8S9t0U-_';

test('a new token is parsed to its kind and id, and only its own text has its hash', () => {
  for (const kind of tokenKinds)
    for (let round = 0; round < 200; round += 1) {
      const { id, text, hash } = createToken(kind);
      expect(parseToken(text)).toEqual({ kind, id });
      expect(text).not.toContain('.');
      expect(isTokenOf(hash, text)).toBe(true);
      expect(isTokenOf(hash, `${text} `)).toBe(false);
      expect(isTokenOf(hash, createToken(kind).text)).toBe(false);
    }
});

test('one character off is another token', () => {
  const { text, hash } = createToken('join');
  for (let at = 0; at < text.length; at += 1) {
    const other = text.slice(0, at) + (text[at] === 'a' ? 'b' : 'a') + text.slice(at + 1);
    expect(isTokenOf(hash, other)).toBe(false);
  }
});

test('texts that are no tokens are refused', () => {
  const { text } = createToken('user');
  const refused = ['', text.slice(1), `${text}x`, text.slice(0, -1), text.toUpperCase(), `${text}\n`];
  for (const one of [...refused, text.replace('user', 'node'), withPin(text, PIN)])
    expect(parseToken(one)).toBeNull();
  expect(isTokenOf('', text)).toBe(false);
  expect(isTokenOf('zz', text)).toBe(false);
});

test('a pin is joined and split off again; without one the text stays as it is', () => {
  const { text } = createToken('join');
  expect(splitPin(withPin(text, PIN))).toEqual({ token: text, pin: PIN });
  expect(splitPin(withPin(text, null))).toEqual({ token: text, pin: null });
  expect(splitPin('a.sha256-short')).toEqual({ token: 'a.sha256-short', pin: null });
  expect(hashToken(text)).toMatch(/^[0-9a-f]{64}$/);
});
