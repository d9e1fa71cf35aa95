// The queue on one SQLite file, for one scheduler process. Every change asked for in one turn of the event loop
// goes into one transaction at the end of that turn; the promises resolve after COMMIT, which with
// synchronous=FULL means after the sync of the write-ahead log.
//
//   job   sequence (order of submission), id, state, record = JSON of the fields that change
//   spec  sequence, spec = JSON, written once, so that a change of state does not rewrite 128 KiB
//   node  id, record
//
// A second file, `<path>.lock`, is held by an open exclusive transaction for as long as the queue is open: the
// kernel drops it with the process, so no stale lock can be left.
import type { Clock, Timer } from '../../base/clock.ts';
import { describeError, errnoOf, Fault, isFault } from '../../base/fault.ts';
import type { Log } from '../../base/log.ts';
import type { JobState } from '../../protocol/result.ts';
import type { JobSpec } from '../../protocol/spec.ts';
import { createJobIndex, type Indexed } from './job-index.ts';
import type { JobRecord, NodeRecord, Queue } from './queue.ts';

export const SCHEMA_VERSION = 1;
/** Finished jobs kept in memory. */
const FINISHED_IN_MEMORY = 10_000;
/** How long a change that nobody waits for may wait for company: a job that ends sooner costs one commit less. */
const SOON_MS = 25;
const BUSY_TIMEOUT_MS = 200;

export interface EmbeddedQueueOptions {
  /** The database file; its folder exists. */
  readonly path: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly finishedInMemory?: number;
  /** Told after each commit: how long it took and how many records it wrote. */
  readonly committed?: (seconds: number, records: number) => void;
}

/** Everything of the `libsql` package that is used here; its own types are loose. */
interface Statement {
  run(...values: (string | number)[]): unknown;
  get(...values: (string | number)[]): unknown;
  all(...values: (string | number)[]): unknown[];
}
interface Database {
  exec(sql: string): unknown;
  prepare(sql: string): Statement;
  close(): unknown;
}
type DatabaseClass = new (path: string, options: { timeout: number }) => Database;

interface DirtyJob {
  readonly now: Indexed;
  /** The record before, or null for a new job. */
  readonly before: Indexed | null;
}

interface JobRow {
  readonly sequence: number;
  readonly id: string;
  readonly record: string;
  readonly spec: string;
}

const SCHEMA = `
CREATE TABLE job (sequence INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, state TEXT NOT NULL, record TEXT NOT NULL);
CREATE INDEX job_state ON job (state, sequence);
CREATE TABLE spec (sequence INTEGER PRIMARY KEY, spec TEXT NOT NULL);
CREATE TABLE node (id TEXT PRIMARY KEY, record TEXT NOT NULL);
PRAGMA user_version = ${SCHEMA_VERSION};
`;

/** Opens or creates the store. Throws Fault QUEUE_IN_USE, QUEUE_STORE_NEWER or QUEUE_STORE_UNUSABLE. */
export async function openEmbeddedQueue(options: EmbeddedQueueOptions): Promise<Queue> {
  const { default: Libsql } = (await import('libsql')) as unknown as { default: DatabaseClass };
  const lock = takeLock(Libsql, options.path);
  try {
    return createQueue(openStore(Libsql, options.path), lock, options);
  } catch (error) {
    lock.release();
    throw isFault(error) ? error : unusable(options.path, error);
  }
}

interface Lock {
  release(): void;
}

function takeLock(Libsql: DatabaseClass, path: string): Lock {
  let holder: Database | null = null;
  try {
    const opened = new Libsql(`${path}.lock`, { timeout: BUSY_TIMEOUT_MS });
    holder = opened;
    opened.exec('BEGIN EXCLUSIVE');
    return {
      release() {
        opened.exec('ROLLBACK');
        opened.close();
      },
    };
  } catch (error) {
    holder?.close();
    if (errnoOf(error) !== 'SQLITE_BUSY') throw unusable(path, error);
    throw new Fault('QUEUE_IN_USE', `another scheduler uses the job store ${path}`, {
      field: 'stateDir',
      remedy: 'stop the other scheduler or choose another state directory',
      cause: error,
    });
  }
}

function unusable(path: string, cause: unknown): Fault {
  return new Fault(
    'QUEUE_STORE_UNUSABLE',
    `the job store ${path} cannot be opened (${describeError(cause)})`,
    {
      field: 'stateDir',
      remedy:
        'check that the folder is writable and the disk has space; move a damaged store.db away to start empty',
      cause,
    },
  );
}

function openStore(Libsql: DatabaseClass, path: string): Database {
  const store = new Libsql(path, { timeout: BUSY_TIMEOUT_MS });
  try {
    store.exec(
      'PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000; PRAGMA journal_size_limit = 67108864',
    );
    const row = store.prepare('PRAGMA user_version').get() as { user_version: number };
    if (row.user_version > SCHEMA_VERSION) {
      throw new Fault(
        'QUEUE_STORE_NEWER',
        `the job store ${path} has schema version ${row.user_version}, this flopd knows up to ${SCHEMA_VERSION}`,
        { field: 'stateDir', remedy: 'use the newer flopd that wrote it, or another state directory' },
      );
    }
    if (row.user_version === 0) store.exec(`BEGIN IMMEDIATE; ${SCHEMA} COMMIT;`);
    return store;
  } catch (error) {
    store.close();
    throw error;
  }
}

function createQueue(store: Database, lock: Lock, options: EmbeddedQueueOptions): Queue {
  const { clock, log } = options;
  const sql = prepare(store);
  const index = createJobIndex(options.finishedInMemory ?? FINISHED_IN_MEMORY);
  const nodes = new Map<string, NodeRecord>();
  let nextSequence = load(sql, index, nodes, options.finishedInMemory ?? FINISHED_IN_MEMORY);

  /** Changed since the last commit. Memory may have let go of a finished one already. */
  let dirtyJobs = new Map<string, DirtyJob>();
  let dirtyNodes = new Map<string, NodeRecord | null>();
  let batch: PromiseWithResolvers | null = null;
  let immediate: NodeJS.Immediate | null = null;
  let soon: Timer | null = null;
  let failed: Fault | null = null;
  let closed = false;

  function changed(when: 'now' | 'soon'): Promise<void> {
    if (batch === null) batch = withResolvers();
    if (when === 'now') immediate ??= setImmediate(flush);
    else if (immediate === null) soon ??= clock.after(SOON_MS, flush);
    return batch.promise;
  }

  function refuseWhenFailed(): void {
    if (failed !== null) throw failed;
    if (closed) throw new Fault('QUEUE_CLOSED', 'the job store is closed');
  }

  function flush(): void {
    if (immediate !== null) clearImmediate(immediate);
    soon?.cancel();
    immediate = null;
    soon = null;
    if (batch === null) return;
    const [committing, jobs, changedNodes] = [batch, dirtyJobs, dirtyNodes];
    batch = null;
    dirtyJobs = new Map();
    dirtyNodes = new Map();
    const startedMs = clock.monotonicMs();
    try {
      store.exec('BEGIN IMMEDIATE');
      for (const { now, before } of jobs.values()) writeJob(sql, now, before);
      for (const id of changedNodes.keys()) {
        sql.putNode.run(id, JSON.stringify(nodes.get(id)));
      }
      store.exec('COMMIT');
    } catch (error) {
      undo(jobs, changedNodes);
      committing.reject(fail(error));
      return;
    }
    options.committed?.((clock.monotonicMs() - startedMs) / 1000, jobs.size + changedNodes.size);
    committing.resolve();
  }

  function undo(jobs: Map<string, DirtyJob>, changedNodes: Map<string, NodeRecord | null>): void {
    try {
      store.exec('ROLLBACK');
    } catch {
      // A failed COMMIT may have rolled back by itself.
    }
    for (const [id, { before }] of jobs) {
      if (before === null) index.forget(id);
      else index.put(before);
    }
    for (const [id, before] of changedNodes) {
      if (before === null) nodes.delete(id);
      else nodes.set(id, before);
    }
  }

  function fail(cause: unknown): Fault {
    failed = new Fault('QUEUE_STORE_FAILED', `the job store could not be written (${describeError(cause)})`, {
      field: 'stateDir',
      remedy: 'free space on or mend the disk of the state directory, then restart the scheduler',
      cause,
    });
    log.error(
      { code: failed.code, cause: describeError(cause) },
      'job store failed; no further change is taken',
    );
    return failed;
  }

  function put(entry: Indexed, before: Indexed | null): void {
    const id = entry.job.id;
    const dirty = dirtyJobs.get(id);
    dirtyJobs.set(id, { now: entry, before: dirty === undefined ? before : dirty.before });
    // A finished job that memory had let go of is counted there already.
    if (before !== null && index.get(id) === null) index.countElsewhere(before.job.state, -1);
    index.put(entry);
  }

  function find(id: string): Indexed | null {
    const known = dirtyJobs.get(id)?.now ?? index.get(id);
    if (known !== null || !index.partial) return known;
    const row = sql.jobById.get(id) as JobRow | undefined;
    return row === undefined ? null : parseJob(row);
  }

  /** Jobs of rows; memory has the newer record of those that it knows. */
  function resolve(rows: readonly unknown[]): JobRecord[] {
    return (rows as JobRow[]).map((row) => (index.get(row.id) ?? parseJob(row)).job);
  }

  return {
    async insertJob(job) {
      refuseWhenFailed();
      if (find(job.id) !== null) throw new Fault('QUEUE_JOB_EXISTS', `job ${job.id} exists already`);
      put({ job, sequence: nextSequence++ }, null);
      await changed('now');
    },
    async updateJob(id, change, when = 'now') {
      refuseWhenFailed();
      const before = find(id);
      if (before === null) throw new Fault('QUEUE_JOB_UNKNOWN', `there is no job ${id}`);
      put({ job: { ...before.job, ...change }, sequence: before.sequence }, before);
      await changed(when);
    },
    job: (id) => find(id)?.job ?? null,
    jobsByPrefix(prefix, limit) {
      if (!index.partial) {
        const matching: JobRecord[] = [];
        for (const { job } of index.entries()) {
          if (job.id.startsWith(prefix)) matching.push(job);
          if (matching.length >= limit) break;
        }
        return matching;
      }
      flush();
      // Ids are lower-case ASCII, so that `~` is after every one of them.
      return resolve(sql.jobsByPrefix.all(prefix, `${prefix}~`, limit));
    },
    jobs({ state, limit }) {
      if (index.partial) {
        flush();
        return resolve(state === undefined ? sql.newest.all(limit) : sql.newestOfState.all(state, limit));
      }
      const matching = [...index.entries()].filter(({ job }) => state === undefined || job.state === state);
      matching.sort((a, b) => b.sequence - a.sequence);
      return matching.slice(0, limit).map(({ job }) => job);
    },
    pending: () => index.pending(),
    active: (nodeId) => index.active(nodeId),
    counts: () => index.counts(),
    async putNode(node) {
      refuseWhenFailed();
      if (!dirtyNodes.has(node.id)) dirtyNodes.set(node.id, nodes.get(node.id) ?? null);
      nodes.set(node.id, node);
      await changed('now');
    },
    node: (id) => nodes.get(id) ?? null,
    nodes: () => [...nodes.values()],
    failure: () => failed,
    async close() {
      if (closed) return;
      closed = true;
      flush();
      store.close();
      lock.release();
    },
  };
}

type Statements = ReturnType<typeof prepare>;

function prepare(store: Database) {
  const select = 'SELECT job.sequence AS sequence, id, record, spec FROM job JOIN spec USING (sequence)';
  return {
    insertJob: store.prepare('INSERT INTO job (sequence, id, state, record) VALUES (?, ?, ?, ?)'),
    insertSpec: store.prepare('INSERT INTO spec (sequence, spec) VALUES (?, ?)'),
    updateJob: store.prepare('UPDATE job SET state = ?, record = ? WHERE sequence = ?'),
    putNode: store.prepare(
      'INSERT INTO node (id, record) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET record = excluded.record',
    ),
    jobById: store.prepare(`${select} WHERE id = ?`),
    jobsByPrefix: store.prepare(`${select} WHERE id >= ? AND id < ? ORDER BY id LIMIT ?`),
    newest: store.prepare(`${select} ORDER BY job.sequence DESC LIMIT ?`),
    newestOfState: store.prepare(`${select} WHERE state = ? ORDER BY job.sequence DESC LIMIT ?`),
    unfinished: store.prepare(
      `${select} WHERE state IN ('PENDING', 'STARTING', 'RUNNING') ORDER BY job.sequence`,
    ),
    newestFinished: store.prepare(
      `${select} WHERE state NOT IN ('PENDING', 'STARTING', 'RUNNING') ORDER BY job.sequence DESC LIMIT ?`,
    ),
    counts: store.prepare('SELECT state, COUNT(*) AS jobs FROM job GROUP BY state'),
    lastSequence: store.prepare('SELECT COALESCE(MAX(sequence), 0) AS last FROM job'),
    nodes: store.prepare('SELECT record FROM node'),
  };
}

/** Fills memory from disk; returns the next sequence. */
function load(
  sql: Statements,
  index: ReturnType<typeof createJobIndex>,
  nodes: Map<string, NodeRecord>,
  finishedInMemory: number,
): number {
  const finished = sql.newestFinished.all(finishedInMemory) as JobRow[];
  for (const row of finished.reverse()) index.put(parseJob(row));
  for (const row of sql.unfinished.all() as JobRow[]) index.put(parseJob(row));
  const loaded = index.counts();
  for (const { state, jobs } of sql.counts.all() as { state: JobState; jobs: number }[]) {
    if (jobs > loaded[state]) index.countElsewhere(state, jobs - loaded[state]);
  }
  for (const { record } of sql.nodes.all() as { record: string }[]) {
    const node = JSON.parse(record) as NodeRecord;
    nodes.set(node.id, node);
  }
  return (sql.lastSequence.get() as { last: number }).last + 1;
}

function writeJob(sql: Statements, entry: Indexed, before: Indexed | null): void {
  const { id: _id, spec, ...record } = entry.job;
  // JSON escapes NUL, which SQLite's C strings would end at.
  if (before === null) {
    sql.insertSpec.run(entry.sequence, JSON.stringify(spec));
    sql.insertJob.run(entry.sequence, entry.job.id, entry.job.state, JSON.stringify(record));
  } else {
    sql.updateJob.run(entry.job.state, JSON.stringify(record), entry.sequence);
  }
}

function parseJob(row: JobRow): Indexed {
  const record = JSON.parse(row.record) as Omit<JobRecord, 'id' | 'spec'>;
  return { job: { id: row.id, spec: JSON.parse(row.spec) as JobSpec, ...record }, sequence: row.sequence };
}

interface PromiseWithResolvers {
  readonly promise: Promise<void>;
  resolve(): void;
  reject(error: Fault): void;
}

/** `Promise.withResolvers` is newer than Node 20. */
function withResolvers(): PromiseWithResolvers {
  let resolve: () => void = () => {};
  let reject: (error: Fault) => void = () => {};
  const promise = new Promise<void>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  // Whoever asked for a change has its own promise; this one must not count as unhandled when nobody waits.
  promise.catch(() => {});
  return { promise, resolve, reject };
}
