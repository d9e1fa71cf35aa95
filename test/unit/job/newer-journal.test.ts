// A journal that the next version wrote, read by this one after a rollback: nothing of it is lost, jobs go on, results
// are told byte for byte, and the next version finds its own again.
import { expect, test } from 'vitest';
import { ASIDE_MAX, createBook } from '../../../src/job/book.ts';
import { encodeRecord, parseJournal } from '../../../src/job/journal-format.ts';
import { settleDown } from './fake-clock.ts';
import { startOrder, stopOrder } from './samples.ts';
import { createRoom, openRoom } from './scripted.ts';

const accepted = (jobId: string, change: object = {}) => ({
  kind: 'accepted',
  order: { ...startOrder(jobId, 1, { resources: { cpus: 0.1 } }), ...change },
  bootId: 'boot-1',
});

test('fields and records of a newer build are kept as they were, and what can be understood is', async () => {
  const room = createRoom();
  const first = await openRoom(room);
  await first.jobs.start(startOrder('job-9', 1, { resources: { cpus: 0.1 } }));
  await first.jobs.close();
  const order = startOrder('job-2', 1);
  const written = [
    { ...accepted('job-1', { priorityClass: 'gold' }), pinned: [0, 1] },
    accepted('job-2', { spec: { ...order.spec, executor: 'quantum', qubits: 3 } }),
    { kind: 'suspended', jobId: 'job-1', epoch: 1, at: { deep: true } },
    { kind: 'stop', jobId: 'job-9', epoch: 1, by: 'alice', reason: 'r', urgency: 'high' },
  ];
  for (const record of written) await room.disk.append(Buffer.from(encodeRecord(record)));

  const { jobs, run, runs } = await openRoom(room);
  expect(jobs.problems()).toEqual(['2 records of the job journal are not understood and kept aside']);
  expect(runs.map(({ name }) => name).sort()).toEqual(['job-1.1', 'job-2.1', 'job-9.1']);
  expect(run('job-1.1').request).toMatchObject({ start: { jobId: 'job-1' } });
  // What it asked for is not understood, so it must not begin; where it runs it is supervised.
  expect(run('job-2.1').request).toMatchObject({ start: null, acceptedBootId: 'boot-1' });
  expect(run('job-9.1').stops).toEqual([10_000]);
  expect(jobs.held().find(({ jobId }) => jobId === 'job-2')).toMatchObject({ devices: null });
  expect(await jobs.start(startOrder('job-2', 1))).toMatchObject({ outcome: 'duplicate' });
  await jobs.stop(stopOrder('job-2'));
  expect(run('job-2.1').stops).toHaveLength(1);
  await settleDown();
});

test('written anew, such a journal still holds what it held', () => {
  const result = {
    version: 1,
    jobId: 'job-1',
    epoch: 1,
    nodeId: 'node-1',
    state: 'COMPLETED',
    endKind: 'exited',
    exitCode: 0,
    signal: null,
    stoppedBy: null,
    cause: 'exited with code 0',
    startedAtMs: 1,
    endedAtMs: 2,
    carbonGrams: 12.5,
    usage: {
      zetaBytes: 1,
      durationMs: 1,
      cpuUserSeconds: null,
      cpuSystemSeconds: null,
      maxResidentBytes: null,
      energyJoules: null,
      flop: null,
      achievedFlops: null,
      flopMethod: null,
      absent: {},
    },
    limits: {},
    stdoutBytes: 0,
    stderrBytes: 0,
  };
  const records = [
    { kind: 'suspended', jobId: 'job-1', epoch: 1 },
    { ...accepted('job-1', { seal: 'x', priorityClass: 'gold' }), pinned: [0] },
    accepted('job-2', { spec: { version: 7 } }),
    { kind: 'result', result },
  ];
  const book = createBook();
  for (const record of [...records, ...records]) book.replay(JSON.parse(JSON.stringify(record)));
  const again = [...book.records()].map((record) => encodeRecord(record)).join('');
  const kept = parseJournal(Buffer.from(again)).records;
  for (const record of records) expect(kept).toContainEqual(record);
  expect(kept).toHaveLength(records.length);
  // Byte for byte, as it was first told.
  expect(JSON.stringify(book.find('job-1', 1)?.result)).toBe(JSON.stringify(result));
});

test('records that are not understood do not grow without bound', () => {
  const book = createBook();
  for (let at = 0; at < ASIDE_MAX + 10; at += 1) book.replay({ kind: 'tick', at });
  const kept = [...book.records()];
  expect(kept).toHaveLength(ASIDE_MAX);
  expect(kept.at(-1)).toEqual({ kind: 'tick', at: ASIDE_MAX + 9 });
  for (const record of [null, 7, 'text', []]) expect(book.replay(record)).toBe(false);
});
