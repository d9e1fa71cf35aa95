// What a node offers, and how loud it is about what it does not.
import { expect, test } from 'vitest';
import type { Clock } from '../../../src/base/clock.ts';
import type { Log } from '../../../src/base/log.ts';
import type { Executor } from '../../../src/job/executor/executor.ts';
import { createOffers } from '../../../src/runner/offers.ts';

function bed() {
  let problem: string | null = 'docker does not answer';
  const lines: string[] = [];
  const log = {
    info: (_: object, text: string) => void lines.push(`info ${text}`),
    warn: (_: object, text: string) => void lines.push(`warn ${text}`),
  } as unknown as Log;
  const executor = { name: 'container', probe: () => problem } as unknown as Executor;
  const offers = createOffers([executor], {} as Clock, log);
  const becomes = (next: string | null): void => {
    problem = next;
  };
  return { offers, lines, becomes };
}

test('an executor that never worked is a limitation of the node, noted once and not as a warning', () => {
  const { offers, lines } = bed();
  for (let i = 0; i < 2; i += 1)
    expect(offers.offered()).toEqual({
      executors: [],
      limitations: ['executor container: docker does not answer'],
    });
  expect(lines).toEqual(['info no jobs through this executor: docker does not answer']);
});

test('one that is lost while it is offered is warned of', () => {
  const { offers, lines, becomes } = bed();
  becomes(null);
  expect(offers.offered()).toEqual({ executors: ['container'], limitations: [] });
  becomes('docker does not answer');
  offers.offered();
  expect(lines).toEqual(['warn no jobs through this executor: docker does not answer']);
});
