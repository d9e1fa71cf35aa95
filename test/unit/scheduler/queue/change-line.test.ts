import { describe, expect, it } from 'vitest';
import { Fault } from '../../../../src/base/fault.ts';
import {
  createChangeLine,
  MAX_BATCH_BYTES,
  piecesOf,
  rowsOf,
} from '../../../../src/scheduler/queue/change-line.ts';
import type { Indexed } from '../../../../src/scheduler/queue/job-index.ts';
import type { NodeRecord } from '../../../../src/scheduler/queue/queue.ts';
import { jobRecord } from '../records.ts';

function entry(id: string, change: Partial<Indexed['job']> = {}, environment = {}): Indexed {
  return {
    sequence: 7,
    specOf: 7,
    job: jobRecord({ id, submittedAtMs: 1, ...change }, { environment }),
  };
}
const node = (generation: number): NodeRecord => ({
  id: 'node-a',
  name: 'a',
  publicKey: 'AAAA',
  enrolledAtMs: 1,
  generation,
  bootId: null,
});

describe('the line of changes', () => {
  it('gives a long batch in pieces, together the same rows', () => {
    const line = createChangeLine();
    line.putNewJobs(Array.from({ length: 5 }, (_, at) => entry(`job-${at}`)));
    line.putNode(node(1), null);
    const batch = line.first();
    if (batch === null) throw new Error('there is a batch');
    const pieces = [...piecesOf(batch, 2)];
    expect(pieces.map(({ inserted }) => inserted.length)).toEqual([2, 2, 1]);
    expect(pieces.flatMap(({ inserted }) => inserted)).toEqual(rowsOf(batch).inserted);
    expect(pieces.flatMap(({ nodes }) => nodes)).toEqual(rowsOf(batch).nodes);
    expect([...piecesOf(batch, 5)]).toEqual([rowsOf(batch)]);
  });

  it('writes a job once per batch, a new one with its specification and its last record', () => {
    const line = createChangeLine();
    const [first, second] = [entry('job-a'), entry('job-a', { state: 'STARTING', epoch: 1 })];
    line.putJob(first, null);
    line.putJob(second, first);
    line.putNode(node(1), null);
    line.putNode(node(2), node(1));
    const batch = line.first();
    expect(batch && rowsOf(batch)).toEqual({
      removed: [],
      inserted: [[7, 'job-a', 'STARTING', expect.any(String), JSON.stringify(first.job.spec), null]],
      updated: [],
      nodes: [['node-a', JSON.stringify(node(2))]],
      documents: [],
    });
    const record = JSON.parse(batch === null ? '' : (rowsOf(batch).inserted[0]?.[3] ?? ''));
    expect(record).toMatchObject({ state: 'STARTING', epoch: 1 });
    expect(record).not.toHaveProperty('spec');
    expect(batch?.jobs.get('job-a')?.before).toBeNull();
    expect(batch?.nodes.get('node-a')?.before).toBeNull();
  });

  it('writes a document once per batch, and refuses alone what is new, also after a removal', async () => {
    const line = createChangeLine();
    const change = { kind: 'user', id: 'mei' } as const;
    const removed = line.putDocument({ ...change, now: undefined, before: { a: 1 } });
    line.first();
    const again = line.putDocument({ ...change, now: { a: 2 }, before: undefined });
    const fresh = line.putDocument({ kind: 'user', id: 'lin', now: { a: 3 }, before: undefined });
    const full = new Fault('QUEUE_STORE_FULL', 'full');
    expect(line.refuseNew(full).documents.map(({ id }) => id)).toEqual(['lin']);
    await expect(fresh).rejects.toBe(full);
    const rows: unknown[] = [];
    for (let batch = line.first(); batch !== null; batch = line.first()) {
      rows.push(...rowsOf(batch).documents);
      line.remove(batch);
      batch.resolve();
    }
    await Promise.all([removed, again]);
    expect(rows).toEqual([
      ['user', 'mei', null],
      ['user', 'mei', '{"a":2}'],
    ]);
  });

  it('takes nothing more into a batch that has been given out', () => {
    const line = createChangeLine();
    const [first, second] = [entry('job-a'), entry('job-a', { state: 'LOST' })];
    line.putJob(first, null);
    const given = line.first();
    line.putJob(second, first);
    expect(given?.jobs.get('job-a')?.now).toBe(first);
    expect(line.job('job-a')).toBe(second);
    expect([...line.jobs().values()]).toEqual([second]);
    if (given !== null) line.remove(given);
    const next = line.first();
    expect(next && rowsOf(next)).toMatchObject({ inserted: [], updated: [['LOST', expect.any(String), 7]] });
    if (next !== null) line.remove(next);
    expect(line.first()).toBeNull();
    expect(line.job('job-a')).toBeNull();
  });

  it('lets no batch grow beyond its bound, and loses none', () => {
    const line = createChangeLine();
    const environment = { A: 'x'.repeat(100_000) };
    const ids = Array.from({ length: 100 }, (_, at) => `job-${at}`);
    for (const id of ids) line.putJob(entry(id, {}, environment), null);
    expect(line.length).toBeGreaterThan(2);
    const written: string[] = [];
    for (let batch = line.first(); batch !== null; batch = line.first()) {
      const rows = rowsOf(batch);
      expect(JSON.stringify(rows).length).toBeLessThan(MAX_BATCH_BYTES * 1.05);
      written.push(...rows.inserted.map(([, id]) => id));
      line.remove(batch);
    }
    expect(written).toEqual(ids);
  });

  it('is undone from its end, and every promise of it can be refused', async () => {
    const line = createChangeLine();
    const stored = [line.putJob(entry('job-a'), null)];
    line.first();
    stored.push(line.putJob(entry('job-b'), null));
    const batches = line.clear();
    expect(batches.map((batch) => [...batch.jobs.keys()])).toEqual([['job-b'], ['job-a']]);
    expect(line.length).toBe(0);
    for (const batch of batches) batch.reject(new Fault('QUEUE_STORE_FAILED', 'no'));
    for (const one of stored) await expect(one).rejects.toMatchObject({ code: 'QUEUE_STORE_FAILED' });
  });

  it('refuses what is new, with every change to it, and keeps the rest and its promises', async () => {
    const line = createChangeLine();
    const [known, fresh] = [entry('job-a'), entry('job-b')];
    const kept = line.putJob(entry('job-a', { state: 'RUNNING' }), known);
    const refused = [line.putJob(fresh, null), line.putNode(node(1), null)];
    const first = line.first();
    refused.push(line.putJob(entry('job-b', { state: 'CANCELLED' }), fresh));
    const error = new Fault('QUEUE_STORE_FULL', 'no');
    expect(line.refuseNew(error)).toEqual({ jobIds: ['job-b'], nodeIds: ['node-a'], documents: [] });
    for (const one of refused) await expect(one).rejects.toBe(error);
    expect([...line.jobs().keys()]).toEqual(['job-a']);
    // The batch that was open takes new ones as before.
    const later = line.putJob(entry('job-c'), null);
    expect(line.refuseNew(error).jobIds).toEqual(['job-c']);
    await expect(later).rejects.toBe(error);
    first?.resolve();
    await kept;
  });
});
