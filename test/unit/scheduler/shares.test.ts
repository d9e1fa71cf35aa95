import { expect, test } from 'vitest';
import { createShares } from '../../../src/scheduler/shares.ts';

test('one user has at most a share, another has one of their own, and what is given back twice counts once', () => {
  const shares = createShares(2);
  const first = shares.take({ user: 'mei' });
  shares.take({ user: 'mei' });
  expect(shares.take({ user: 'mei' })).toBeNull();
  expect(shares.take({ user: 'lin' })).not.toBeNull();
  first?.();
  first?.();
  expect(shares.take({ user: 'mei' })).not.toBeNull();
  expect(shares.take({ user: 'mei' })).toBeNull();
});
