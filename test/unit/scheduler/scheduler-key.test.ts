import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { startOrderSchema } from '../../../src/protocol/control.ts';
import { jobSpecSchema } from '../../../src/protocol/spec.ts';
import type { JobRecord } from '../../../src/scheduler/queue/queue.ts';
import { createSchedulerKey } from '../../../src/scheduler/scheduler-key.ts';

const newKey = () => createSchedulerKey(generateKeyPairSync('ed25519').privateKey, 'scheduler-1');
const job = {
  id: 'job-a',
  epoch: 2,
  nodeId: 'node-a',
  submittedAtMs: 1_700_000_000_123.5,
  array: null,
  devices: ['GPU-1'],
  spec: jobSpecSchema.parse({ version: 1, command: ['x', 'y'], environment: { B: '2', A: '1' } }),
} as unknown as JobRecord;
const orderOf = (seal: string, change: object = {}) =>
  startOrderSchema.parse({
    type: 'start',
    orderId: 'order-1',
    jobId: job.id,
    epoch: job.epoch,
    spec: job.spec,
    devices: job.devices,
    seal,
    ...change,
  });

describe('the scheduler’s key', () => {
  test('knows the credentials that it signed, for exactly that node and key', () => {
    const key = newKey();
    const credential = key.credential('node-a', 'AAAA', 5);
    expect(key.isOurs('node-a', credential)).toBe(true);
    expect(key.isOurs('node-b', credential)).toBe(false);
    expect(key.isOurs('node-a', { ...credential, publicKey: 'BBBB' })).toBe(false);
    expect(key.isOurs('node-a', { ...credential, enrolledAtMs: 6 })).toBe(false);
    expect(key.isOurs('node-a', { ...credential, signature: '' })).toBe(false);
    expect(newKey().isOurs('node-a', credential)).toBe(false);
  });

  test('knows its orders again, in whatever order their fields come back, and no others', () => {
    const key = newKey();
    const seal = key.seal(job);
    expect(key.readSeal('node-a', orderOf(seal))).toBe(job.submittedAtMs);
    const turned = { ...job.spec, environment: { A: '1', B: '2' } };
    const backwards = Object.fromEntries(Object.entries(turned).reverse());
    expect(key.readSeal('node-a', { ...orderOf(seal), spec: backwards as never })).toBe(job.submittedAtMs);
    expect(key.readSeal('node-b', orderOf(seal))).toBeNull();
    for (const change of [
      { epoch: 3 },
      { jobId: 'job-b' },
      { devices: [] },
      { array: { id: 'arr-a', index: 0, size: 1 } },
      { spec: { ...job.spec, command: ['x', 'z'] } },
      { spec: { ...job.spec, retry: { times: 9 } } },
    ])
      expect(key.readSeal('node-a', orderOf(seal, change))).toBeNull();
    for (const bad of ['', 'x', `${seal}=`, seal.replace(/^\d/, '2'), `1.${seal.slice(-43)}`])
      expect(key.readSeal('node-a', orderOf(bad))).toBeNull();
    expect(newKey().readSeal('node-a', orderOf(seal))).toBeNull();
    expect(seal.length).toBeLessThanOrEqual(128);
  });
});
