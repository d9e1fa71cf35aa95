import { cpSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createClock } from '../../../../src/base/clock.ts';
import { createSilentLog } from '../../../../src/base/log.ts';
import { openEmbeddedQueue } from '../../../../src/scheduler/queue/embedded.ts';
import type { Queue } from '../../../../src/scheduler/queue/queue.ts';
import { SCHEMA_VERSION } from '../../../../src/scheduler/queue/store.ts';
import {
  createLocalWriter,
  type DatabaseClass,
  fullFault,
  type StoreWriter,
} from '../../../../src/scheduler/queue/store-writer.ts';
import { buildScript } from '../built-script.ts';
import { newJob, newNode, queueContract } from './contract.ts';
import { removalContract } from './removal-contract.ts';

const Libsql = createRequire(import.meta.url)('libsql') as new (
  path: string,
) => { exec(sql: string): void; close(): void; prepare(sql: string): { all(): unknown[] } };
const freshFolder = (): string => mkdtempSync(join(tmpdir(), 'flopd-queue-'));

const open = (folder: string, change: Partial<Parameters<typeof openEmbeddedQueue>[0]> = {}) =>
  openEmbeddedQueue({
    path: join(folder, 'store.db'),
    clock: createClock(),
    log: createSilentLog(),
    ...change,
  });

const built = await buildScript('store-writer');
afterAll(built.remove);
const writers = [
  { where: 'a thread of its own', writerScript: built.script },
  { where: 'this thread', writerScript: null },
];

for (const { where, writerScript } of writers) {
  const newBed = () => {
    const folder = freshFolder();
    return {
      open: (finishedInMemory = 10_000) => open(folder, { finishedInMemory, writerScript }),
      remove: () => rmSync(folder, { recursive: true, force: true }),
    };
  };
  queueContract(`embedded (writer in ${where})`, newBed);
  removalContract(`embedded (writer in ${where})`, newBed);
}

describe.each(writers)('the embedded queue with its writer in $where', ({ writerScript }) => {
  const openHere: typeof open = (at, change = {}) => open(at, { writerScript, ...change });
  let folder: string;
  beforeEach(() => {
    folder = freshFolder();
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  it('reads what an older flopd wrote, and writes what that reads as long as nothing new is asked for', async () => {
    const queue = await openHere(folder);
    const job = newJob({ id: 'job-new' }, { environment: { A: '1' } });
    await queue.insertJob(job);
    await queue.close();
    const store = new Libsql(join(folder, 'store.db'));
    const [row] = store.prepare('SELECT record FROM job').all() as [{ record: string }];
    const known = [
      'state',
      'submittedAtMs',
      'epoch',
      'nodeId',
      'devices',
      'startedAtMs',
      'endedAtMs',
      'cancelBy',
      'result',
      'reason',
    ];
    expect(Object.keys(JSON.parse(row.record)).sort()).toEqual([...known].sort());
    const { devices: _devices, ...oldRecord } = JSON.parse(row.record);
    const oldSpec = {
      version: 1,
      name: null,
      executor: 'process',
      command: ['true'],
      environment: {},
      workingDirectory: null,
      resources: { cpus: 1, memoryBytes: null, accelerators: { count: 1, match: null } },
      timeLimitMs: null,
      graceMs: 10_000,
      priority: 0,
    };
    store.exec(`INSERT INTO job (sequence, id, state, record) VALUES (7, 'job-old', 'PENDING', '${JSON.stringify(oldRecord)}');
      INSERT INTO spec (sequence, spec) VALUES (7, '${JSON.stringify(oldSpec)}')`);
    store.close();
    const again = await openHere(folder);
    expect(again.job('job-new')).toEqual(job);
    expect(again.job('job-old')).toMatchObject({
      array: null,
      devices: [],
      retries: 0,
      attempts: [],
      notBeforeMs: null,
      spec: {
        network: 'host',
        dependencies: [],
        array: null,
        retry: { times: 0 },
        disconnect: { policy: 'keep' },
        resources: { processes: null, accelerators: { count: 1, partition: null, shared: false } },
      },
    });
    await again.close();
  });

  it('puts all changes of one turn into one commit', async () => {
    const commits: number[] = [];
    const queue = await openHere(folder, { committed: (_seconds, records) => commits.push(records) });
    await Promise.all(Array.from({ length: 50 }, () => queue.insertJob(newJob())));
    expect(commits).toEqual([50]);
    await queue.close();
  });

  it('loses nothing that was promised when it is cut off without closing', async () => {
    const queue = await openHere(folder);
    const jobs = Array.from({ length: 20 }, () => newJob());
    for (const job of jobs) await queue.insertJob(job);
    await queue.putNode(newNode('node-a'));
    const image = freshFolder();
    cpSync(folder, image, { recursive: true, filter: (path) => !path.endsWith('.lock') });
    const survivor = await openHere(image);
    expect([...survivor.pending()]).toEqual(jobs);
    await survivor.close();
    await queue.close();
    rmSync(image, { recursive: true });
  });

  it('lets one scheduler in at a time', async () => {
    const first = await openHere(folder);
    await expect(openHere(folder)).rejects.toMatchObject({ code: 'QUEUE_IN_USE', field: 'stateDir' });
    await first.close();
    const second = await openHere(folder);
    await second.close();
  });

  it('refuses a store of a newer flopd and one that is no store, and leaves both alone', async () => {
    const store = new Libsql(join(folder, 'store.db'));
    store.exec(`PRAGMA user_version = ${SCHEMA_VERSION + 1}`);
    store.close();
    await expect(openHere(folder)).rejects.toMatchObject({ code: 'QUEUE_STORE_NEWER', field: 'stateDir' });
    const other = freshFolder();
    writeFileSync(join(other, 'store.db'), 'this is not a database '.repeat(1000));
    await expect(openHere(other)).rejects.toMatchObject({ code: 'QUEUE_STORE_UNUSABLE' });
    rmSync(other, { recursive: true });
  });

  it('reads a store from before there were documents, and leaves its version as it is', async () => {
    const job = newJob();
    const first = await openHere(folder);
    await first.insertJob(job);
    await first.close();
    const store = new Libsql(join(folder, 'store.db'));
    store.exec('DROP TABLE document');
    store.close();
    const queue = await openHere(folder);
    expect(queue.job(job.id)).toEqual(job);
    await queue.putDocument('user', 'mei', { role: 'viewer' });
    await queue.close();
    const after = new Libsql(join(folder, 'store.db'));
    expect(after.prepare('PRAGMA user_version').all()).toMatchObject([{ user_version: 1 }]);
    after.close();
  });

  it('takes no more changes after a failed commit and forgets what was not stored', async () => {
    const queue = await openHere(folder);
    const kept = newJob();
    await queue.insertJob(kept);
    // Another connection takes the write lock: the commit cannot be made.
    const thief = new Libsql(join(folder, 'store.db'));
    thief.exec('BEGIN IMMEDIATE');
    const lost = newJob();
    const refused = queue.insertJob(lost);
    const changed = queue.updateJob(kept.id, { state: 'STARTING', epoch: 1, nodeId: 'node-a' });
    const unkept = expect(queue.putDocument('user', 'mei', 1)).rejects.toMatchObject({
      code: 'QUEUE_STORE_FAILED',
    });
    await expect(refused).rejects.toMatchObject({ code: 'QUEUE_STORE_FAILED' });
    await expect(changed).rejects.toMatchObject({ code: 'QUEUE_STORE_FAILED' });
    thief.exec('ROLLBACK');
    thief.close();
    expect(queue.documents('user').size).toBe(0);
    await unkept;
    expect(queue.job(lost.id)).toBeNull();
    expect(queue.job(kept.id)).toEqual(kept);
    expect(queue.failure()?.remedy).toContain('restart');
    await expect(queue.putNode(newNode('node-a'))).rejects.toMatchObject({ code: 'QUEUE_STORE_FAILED' });
    await queue.close();
    const again = await openHere(folder);
    expect([...again.pending()]).toEqual([kept]);
    await again.close();
  });
});

describe('the embedded queue that takes out ended jobs', () => {
  let folder: string;
  beforeEach(() => {
    folder = freshFolder();
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  async function fill(queue: Queue, jobs: number): Promise<void> {
    const made = Array.from({ length: jobs }, () => newJob({}, { environment: { A: 'x'.repeat(2000) } }));
    await Promise.all(made.map((job) => queue.insertJob(job)));
    await Promise.all(made.map((job) => queue.updateJob(job.id, { state: 'COMPLETED' })));
  }

  it('uses the pages of the file again', async () => {
    const path = join(folder, 'store.db');
    const sizes: number[] = [];
    for (let round = 0; round < 4; round += 1) {
      const queue = await open(folder);
      await fill(queue, 200);
      expect(await queue.removeJobs(queue.endedJobs(0, 200))).toHaveLength(200);
      // Closing writes the log into the file.
      await queue.close();
      sizes.push(statSync(path).size);
    }
    expect(Math.max(...sizes)).toBeLessThan((sizes[0] ?? 0) * 1.2);
    const rows = new Libsql(path);
    for (const table of ['job', 'spec', 'submission'])
      expect(rows.prepare(`SELECT COUNT(*) AS rows FROM ${table}`).all()).toMatchObject([{ rows: 0 }]);
    rows.close();
  });

  it('has them all after a commit that failed', async () => {
    const queue = await open(folder);
    await fill(queue, 3);
    const thief = new Libsql(join(folder, 'store.db'));
    thief.exec('BEGIN IMMEDIATE');
    const refused = queue.removeJobs(queue.endedJobs(0, 3));
    expect(queue.counts().COMPLETED).toBe(0);
    await expect(refused).rejects.toMatchObject({ code: 'QUEUE_STORE_FAILED' });
    thief.exec('ROLLBACK');
    thief.close();
    expect(queue.counts().COMPLETED).toBe(3);
    expect(queue.jobs({ limit: 5 })).toHaveLength(3);
    await queue.close();
  });
});

describe('the embedded queue on a full disk', () => {
  let folder: string;
  beforeEach(() => {
    folder = freshFolder();
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  it('keeps no more changes than its bound, and stores all that it took', async () => {
    const path = join(folder, 'store.db');
    let isFull = false;
    const startWriter = (): StoreWriter => {
      const writer = createLocalWriter(Libsql as unknown as DatabaseClass, path);
      const whenSpace = async <T>(work: () => Promise<T>): Promise<T> => {
        if (isFull) throw fullFault(path, new Error('full'));
        return work();
      };
      return {
        commit: (batch) => whenSpace(() => writer.commit(batch)),
        probe: () => whenSpace(writer.probe),
        close: writer.close,
      };
    };
    let resumed = 0;
    const queue = await open(folder, {
      startWriter,
      resumed: () => {
        resumed += 1;
      },
    });
    const job = newJob();
    await queue.insertJob(job);
    isFull = true;
    await expect(queue.insertJob(newJob())).rejects.toMatchObject({ code: 'QUEUE_STORE_FULL' });
    await expect(queue.putNode(newNode('node-a'))).rejects.toMatchObject({ code: 'QUEUE_STORE_FULL' });
    expect(queue.nodes()).toEqual([]);
    const taken: Promise<void>[] = [];
    let refused: unknown = null;
    for (let startedAtMs = 0; refused === null && startedAtMs < 200_000; startedAtMs += 1) {
      const stored = queue.updateJob(job.id, { startedAtMs });
      if (queue.job(job.id)?.startedAtMs === startedAtMs) taken.push(stored);
      else refused = await stored.catch((error: unknown) => error);
    }
    expect(refused).toMatchObject({ code: 'QUEUE_STORE_FULL' });
    expect(taken.length).toBeGreaterThan(10_000);
    expect(queue.failure()).toMatchObject({ code: 'QUEUE_STORE_FULL' });
    isFull = false;
    await Promise.all(taken);
    while (queue.failure() !== null) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(resumed).toBe(1);
    await queue.close();
    const again = await open(folder);
    expect(again.job(job.id)?.startedAtMs).toBe(taken.length - 1);
    await again.close();
  });

  it('gives up what waits when it is closed', async () => {
    const path = join(folder, 'store.db');
    const startWriter = (): StoreWriter => {
      const writer = createLocalWriter(Libsql as unknown as DatabaseClass, path);
      let commits = 0;
      return {
        async commit(batch) {
          commits += 1;
          if (commits > 1) throw fullFault(path, new Error('full'));
          return writer.commit(batch);
        },
        probe: writer.probe,
        close: writer.close,
      };
    };
    const queue = await open(folder, { startWriter });
    const job = newJob();
    await queue.insertJob(job);
    const change = queue.updateJob(job.id, { reason: 'never stored' });
    const refused = expect(change).rejects.toMatchObject({ code: 'QUEUE_STORE_FAILED' });
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(queue.failure()).toMatchObject({ code: 'QUEUE_STORE_FULL' });
    await queue.close();
    await refused;
  });
});

/** A thread that pretends: it answers `commits` batches, each when the gate is open, and ends at the next. */
function writeScript(folder: string, commits: number): { readonly script: URL; open(): void } {
  const path = join(folder, 'writer.mjs');
  const gate = join(folder, 'gate');
  writeFileSync(
    path,
    `import { existsSync } from 'node:fs';
     import { parentPort } from 'node:worker_threads';
     let left = ${commits};
     const answer = () => {
       if (existsSync(${JSON.stringify(gate)})) parentPort.postMessage({ seconds: 0 });
       else setTimeout(answer, 5);
     };
     parentPort.on('message', (batch) => {
       if (batch === null) parentPort.close();
       else if (left-- === 0) process.exit(3);
       else answer();
     });`,
  );
  return { script: pathToFileURL(path), open: () => writeFileSync(gate, '') };
}

describe('the embedded queue and the thread that writes', () => {
  let folder: string;
  beforeEach(() => {
    folder = freshFolder();
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  it('gathers into one commit what comes while another is under way, and shows it at once', async () => {
    const commits: number[] = [];
    const writer = writeScript(folder, 100);
    const committed = (_seconds: number, records: number) => commits.push(records);
    const queue = await open(folder, { writerScript: writer.script, committed, finishedInMemory: 2 });
    const jobs = Array.from({ length: 12 }, () => newJob());
    const stored: Promise<void>[] = [];
    for (const job of jobs) {
      stored.push(queue.insertJob(job));
      await new Promise((resolve) => setImmediate(resolve));
    }
    for (const job of jobs.slice(0, 6)) stored.push(queue.updateJob(job.id, { state: 'COMPLETED' }));
    // The first is with the writer, none is on disk, and memory keeps two of the six that have ended.
    expect(commits).toEqual([]);
    const ids = jobs.map((job) => job.id);
    const idsOf = (records: readonly { id: string }[]) => records.map((job) => job.id);
    expect(idsOf(queue.jobs({ limit: 7 }))).toEqual(ids.slice(-7).reverse());
    expect(idsOf(queue.jobs({ state: 'COMPLETED', limit: 9 }))).toEqual(ids.slice(0, 6).reverse());
    expect(queue.jobsByPrefix(ids[0] ?? '', 9).map((job) => job.state)).toEqual(['COMPLETED']);
    expect(queue.job(ids[0] ?? '')?.state).toBe('COMPLETED');
    writer.open();
    await Promise.all(stored);
    expect(commits).toEqual([1, 12]);
    await queue.close();
  });

  it('fails when its thread ends, and is back at what was promised', async () => {
    const writer = writeScript(folder, 1);
    writer.open();
    const queue = await open(folder, { writerScript: writer.script });
    const kept = newJob();
    await queue.insertJob(kept);
    const first = queue.updateJob(kept.id, { state: 'STARTING', epoch: 1, nodeId: 'node-a' });
    await new Promise((resolve) => setImmediate(resolve));
    const second = queue.updateJob(kept.id, { state: 'RUNNING' });
    const node = queue.putNode(newNode('node-a'));
    const outcomes = await Promise.allSettled([first, second, node]);
    for (const outcome of outcomes) {
      expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'QUEUE_STORE_FAILED' } });
    }
    expect(queue.job(kept.id)).toEqual(kept);
    expect([...queue.pending()]).toEqual([kept]);
    expect(queue.nodes()).toEqual([]);
    expect(queue.failure()).toMatchObject({ code: 'QUEUE_STORE_FAILED', field: 'stateDir' });
    await expect(queue.insertJob(newJob())).rejects.toMatchObject({ code: 'QUEUE_STORE_FAILED' });
    await queue.close();
  });

  it('says so when its thread cannot start, and lets the store go', async () => {
    const queue = await open(folder, { writerScript: pathToFileURL(join(folder, 'missing.mjs')) });
    await expect(queue.insertJob(newJob())).rejects.toMatchObject({ code: 'QUEUE_STORE_FAILED' });
    await queue.close();
    const again = await open(folder);
    expect(again.jobs({ limit: 9 })).toEqual([]);
    await again.close();
  });

  it('leaves the event loop free while the disk is slow', async () => {
    const writer = writeScript(folder, 9);
    const queue = await open(folder, { writerScript: writer.script });
    let over = false;
    const stored = queue.insertJob(newJob()).then(() => {
      over = true;
    });
    for (let turn = 0; turn < 50; turn += 1) await new Promise((resolve) => setTimeout(resolve, 1));
    expect(over).toBe(false);
    writer.open();
    await stored;
    await queue.close();
  });
});
