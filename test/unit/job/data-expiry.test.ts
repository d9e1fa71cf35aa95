// The data of a job is looked at again when its program is about to start: after inputs, and after a restart.
import { expect, test } from 'vitest';
import type { NodeDataRules } from '../../../src/job/data-admission.ts';
import { builtInCorridors } from '../../../src/protocol/corridor.ts';
import { nowhere } from '../../../src/protocol/place.ts';
import { settleDown } from './fake-clock.ts';
import { startOrder } from './samples.ts';
import { createRoom, openRoom } from './scripted.ts';

const at = (jurisdiction: string): NodeDataRules => ({
  place: { ...nowhere, jurisdiction },
  classes: ['internal'],
  corridors: builtInCorridors,
});
const data = { data: { class: 'internal', origin: 'HK' } } as const;

test('a job whose data may be here no more when its program would start fails to start, and says why', async () => {
  const room = createRoom();
  let asked = 0;
  const { jobs, runs } = await openRoom(room, { data: () => at(asked++ === 0 ? 'HK' : 'SG') });
  expect(await jobs.start(startOrder('job-1', 1, data))).toMatchObject({ outcome: 'accepted' });
  await settleDown();
  expect(runs).toEqual([]);
  expect(room.results).toMatchObject([
    {
      state: 'FAILED_TO_START',
      cause: expect.stringContaining('failed to start: data.allowed lets internal data'),
    },
  ]);
});

test('what was accepted before a restart is not begun after it where its data may not be', async () => {
  const room = createRoom();
  const first = await openRoom(room, { data: () => at('HK') });
  await first.jobs.start(startOrder('job-1', 1, data));
  await first.jobs.close();
  const { run } = await openRoom(room, { data: () => at('SG') });
  const again = run('job-1.1');
  expect(again.how).toBe('recovered');
  expect('start' in again.request && again.request.start).toBeNull();
});

test('a refusal is for good, and in the audit log', async () => {
  const audited: unknown[] = [];
  const { jobs } = await openRoom(createRoom(), {
    data: () => at('SG'),
    audit: (kind, facts) => audited.push([kind, facts.code]),
  });
  for (let times = 0; times < 2; times += 1)
    expect(await jobs.start(startOrder('job-1', 1, data))).toMatchObject({ code: 'DATA_PLACE_NOT_ALLOWED' });
  expect(audited).toEqual([['policy.refused', 'DATA_PLACE_NOT_ALLOWED']]);
  const { jobs: without } = await openRoom(createRoom());
  expect(await without.start(startOrder('job-1', 1, data))).toMatchObject({ code: 'DATA_PLACE_MISSING' });
});
