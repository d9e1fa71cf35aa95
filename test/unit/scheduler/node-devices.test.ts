import { expect, it } from 'vitest';
import { describeCordon } from '../../../src/scheduler/node-devices.ts';

it('says by whom and why a node is drained, and until when where that ends by itself', () => {
  const cordon = { by: 'mei', reason: 'fan', sinceMs: 0, untilMs: null };
  expect(describeCordon(cordon)).toBe('mei: fan');
  expect(describeCordon({ ...cordon, untilMs: 1000 })).toBe('mei: fan, until 1970-01-01T00:00:01.000Z');
});
