import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createClock } from '../../../../src/base/clock.ts';
import { createSilentLog } from '../../../../src/base/log.ts';
import { openEmbeddedQueue, SCHEMA_VERSION } from '../../../../src/scheduler/queue/embedded.ts';
import { newJob, newNode, queueContract } from './contract.ts';

const Libsql = createRequire(import.meta.url)('libsql') as new (
  path: string,
) => { exec(sql: string): void; close(): void };
const freshFolder = (): string => mkdtempSync(join(tmpdir(), 'flopd-queue-'));

const open = (folder: string, change: Partial<Parameters<typeof openEmbeddedQueue>[0]> = {}) =>
  openEmbeddedQueue({
    path: join(folder, 'store.db'),
    clock: createClock(),
    log: createSilentLog(),
    ...change,
  });

queueContract('embedded', () => {
  const folder = freshFolder();
  return {
    open: (finishedInMemory = 10_000) => open(folder, { finishedInMemory }),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
});

describe('the embedded queue', () => {
  let folder: string;
  beforeEach(() => {
    folder = freshFolder();
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  it('puts all changes of one turn into one commit', async () => {
    const commits: number[] = [];
    const queue = await open(folder, { committed: (_seconds, records) => commits.push(records) });
    await Promise.all(Array.from({ length: 50 }, () => queue.insertJob(newJob())));
    expect(commits).toEqual([50]);
    await queue.close();
  });

  it('loses nothing that was promised when it is cut off without closing', async () => {
    const queue = await open(folder);
    const jobs = Array.from({ length: 20 }, () => newJob());
    for (const job of jobs) await queue.insertJob(job);
    await queue.putNode(newNode('node-a'));
    const image = freshFolder();
    cpSync(folder, image, { recursive: true, filter: (path) => !path.endsWith('.lock') });
    const survivor = await open(image);
    expect([...survivor.pending()]).toEqual(jobs);
    await survivor.close();
    await queue.close();
    rmSync(image, { recursive: true });
  });

  it('lets one scheduler in at a time', async () => {
    const first = await open(folder);
    await expect(open(folder)).rejects.toMatchObject({ code: 'QUEUE_IN_USE', field: 'stateDir' });
    await first.close();
    const second = await open(folder);
    await second.close();
  });

  it('refuses a store of a newer flopd and one that is no store, and leaves both alone', async () => {
    const store = new Libsql(join(folder, 'store.db'));
    store.exec(`PRAGMA user_version = ${SCHEMA_VERSION + 1}`);
    store.close();
    await expect(open(folder)).rejects.toMatchObject({ code: 'QUEUE_STORE_NEWER', field: 'stateDir' });
    const other = freshFolder();
    writeFileSync(join(other, 'store.db'), 'this is not a database '.repeat(1000));
    await expect(open(other)).rejects.toMatchObject({ code: 'QUEUE_STORE_UNUSABLE' });
    rmSync(other, { recursive: true });
  });

  it('takes no more changes after a failed commit and forgets what was not stored', async () => {
    const queue = await open(folder);
    const kept = newJob();
    await queue.insertJob(kept);
    // Another connection takes the write lock: the commit cannot be made.
    const thief = new Libsql(join(folder, 'store.db'));
    thief.exec('BEGIN IMMEDIATE');
    const lost = newJob();
    const refused = queue.insertJob(lost);
    const changed = queue.updateJob(kept.id, { state: 'STARTING', epoch: 1, nodeId: 'node-a' });
    await expect(refused).rejects.toMatchObject({ code: 'QUEUE_STORE_FAILED' });
    await expect(changed).rejects.toMatchObject({ code: 'QUEUE_STORE_FAILED' });
    thief.exec('ROLLBACK');
    thief.close();
    expect(queue.job(lost.id)).toBeNull();
    expect(queue.job(kept.id)).toEqual(kept);
    expect(queue.failure()?.remedy).toContain('restart');
    await expect(queue.putNode(newNode('node-a'))).rejects.toMatchObject({ code: 'QUEUE_STORE_FAILED' });
    await queue.close();
    const again = await open(folder);
    expect([...again.pending()]).toEqual([kept]);
    await again.close();
  });
});
