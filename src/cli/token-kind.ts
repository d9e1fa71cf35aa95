// The usual accidents with tokens, told before anything is sent: one of the other kind, one that was not copied whole.
import type { Fault } from '../base/fault.ts';
import { parseToken, splitPin, type TokenKind } from '../base/token-text.ts';
import { usageFault } from './usage.ts';

const others: Readonly<Record<TokenKind, () => Fault>> = {
  join: () =>
    usageFault('that is a join token, which lets a host in', 'a user\'s is made by "flopd user create NAME"'),
  user: () =>
    usageFault(
      'that is the token of a user, and lets no host in',
      'an admin makes a join token with "flopd scheduler token create"',
    ),
};

/** Throws USAGE for a token of the other kind and for one whose pin is cut off; texts of neither kind pass. */
export function requireKind(text: string, kind: TokenKind): void {
  const { token, pin } = splitPin(text);
  if (pin === null && text.startsWith('flopd-') && text.includes('.'))
    throw usageFault(
      'the token is not whole: what follows its "." is no pin',
      'copy it whole, as it was shown',
    );
  const parts = parseToken(token);
  if (parts !== null && parts.kind !== kind) throw others[parts.kind]();
}
