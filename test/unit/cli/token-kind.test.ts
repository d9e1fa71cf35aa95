import { describe, expect, it } from 'vitest';
import { createToken, withPin } from '../../../src/base/token-text.ts';
import { requireKind } from '../../../src/cli/token-kind.ts';

const pin = `sha256-${'a'.repeat(43)}`;

describe('a token that a person has given', () => {
  it('passes with and without a pin, and so does the text of a state directory', () => {
    for (const text of [createToken('join').text, withPin(createToken('join').text, pin), 'a'.repeat(43)])
      expect(() => requireKind(text, 'join')).not.toThrow();
  });

  it('is told to be of the other kind', () => {
    expect(() => requireKind(withPin(createToken('user').text, pin), 'join')).toThrow(/of a user/);
    expect(() => requireKind(createToken('join').text, 'user')).toThrow(/a join token/);
  });

  it('is told not to be whole, without its text', () => {
    const cut = withPin(createToken('join').text, pin).slice(0, -1);
    expect(() => requireKind(cut, 'join')).toThrow(
      /^the token is not whole: what follows its "\." is no pin$/,
    );
  });
});
