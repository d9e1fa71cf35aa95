// What others see of a job says nothing that its specification keeps from them, in no other field either.
import { expect, test } from 'vitest';
import type { JobView } from '../../../../src/protocol/api.ts';
import { jobSpecSchema } from '../../../../src/protocol/spec.ts';
import { hideJob } from '../../../../src/scheduler/access/hidden.ts';

const data = {
  class: 'personal',
  origin: 'CN-GD',
  allowed: ['HK'],
  filing: { number: 'SECRET-17', expiresAt: '2027-03-31' },
};
const base = jobSpecSchema.parse({ version: 1, command: ['true'], data });

function view(state: JobView['state'], spec = base): JobView {
  return {
    state,
    reason: 'waiting: data.filing: SECRET-17 expired',
    spec,
    node: { id: 'node-1', name: 'one' },
    dataRule: 'personal data through the corridor GBA, filing SECRET-17 to 2027-03-31',
    attempts: [],
    result: null,
  } as unknown as JobView;
}

test('the number of a filing is in no sentence of a job that others see', () => {
  const waiting = hideJob(view('PENDING'), 'waiting: data.filing: SECRET-17 expired on 2027-03-31');
  expect(JSON.stringify([waiting, hideJob(view('RUNNING'), null)])).not.toContain('SECRET-17');
  expect(waiting).toMatchObject({ reason: 'waits', dataRule: null });
});

test('a job without a filing still says why it waits, and by which rule it is where it is', () => {
  const plain = { ...base, data: { ...base.data, filing: null } } as typeof base;
  expect(hideJob(view('PENDING', plain), 'waiting: needs 1 CPU')).toMatchObject({
    reason: 'waiting: needs 1 CPU',
    dataRule: expect.stringContaining('corridor'),
  });
});
