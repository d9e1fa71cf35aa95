import { expect, test } from 'vitest';
import { createSpaceWatch } from '../../../src/job/space-watch.ts';
import { createHandClock } from '../link/parts.ts';

test('a disk that takes nothing is found before an order needs it; one that does not answer is waited for by nobody', async () => {
  const clock = createHandClock();
  let found: string | null = null;
  let asked = 0;
  let hangs: ((found: string | null) => void)[] | null = null;
  const watch = createSpaceWatch(() => {
    asked += 1;
    const open = hangs;
    return open === null ? Promise.resolve(found) : new Promise((resolve) => open.push(resolve));
  }, clock);
  expect(watch.problem()).toBeNull();
  found = 'it is read-only';
  await clock.advance(5000);
  expect(watch.problem()).toBe('it is read-only');
  found = null;
  await clock.advance(5000);
  expect(watch.problem()).toBeNull();

  hangs = [];
  const before = asked;
  await clock.advance(60_000);
  expect([watch.problem(), asked - before]).toEqual(['its disk does not answer', 1]);
  const open = hangs;
  hangs = null;
  for (const answer of open) answer(null);
  await clock.advance(0);
  expect(watch.problem()).toBeNull();
  watch.close();
  expect(clock.pending()).toBe(0);
});
