// The one that writes the embedded store: rows in, one transaction a batch, an answer after COMMIT. It runs in a
// thread of its own (thread-writer.ts), so that the sync of the disk holds up nobody; where no script for such a
// thread is at hand it runs in this one, behind the same interface. It knows rows, not jobs.
import { closeSync, fdatasyncSync, openSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { describeError, errnoOf, Fault } from '../../base/fault.ts';

/** How long the writer waits for another process that holds the store. */
export const BUSY_TIMEOUT_MS = 200;

/** Changed rows; within a batch each row stands once. Plain arrays, so that they cross to a thread cheaply. */
export interface Batch {
  /** sequence, id; they go first, so that an id may come again */
  readonly removed: readonly (readonly [number, string])[];
  /** sequence, id, state, record, spec (null where another row carries it), submission (null where there is none) */
  readonly inserted: readonly (readonly [number, string, string, string, string | null, string | null])[];
  /** state, record, sequence */
  readonly updated: readonly (readonly [string, string, number])[];
  /** id, record */
  readonly nodes: readonly (readonly [string, string])[];
  /** kind, id, value; null to remove it */
  readonly documents: readonly (readonly [string, string, string | null])[];
}

export interface StoreWriter {
  /** Rows that belong to the next `commit`, ahead of its own. Without it, all rows of a commit come at once. */
  stage?(batch: Batch): void;
  /**
   * Resolves, when the batch is on disk, to the seconds that the transaction took. One at a time. Rejects with
   * Fault QUEUE_STORE_FULL when there was no space: nothing of the batch is on disk, and it may be given again. Any
   * other rejection is final: the batch is not promised, and no other may be given.
   */
  commit(batch: Batch): Promise<number>;
  /** Resolves when there is some space again; rejects with Fault QUEUE_STORE_FULL while there is none. */
  probe(): Promise<void>;
  close(): Promise<void>;
}

/** Everything of the `libsql` package that is used here; its own types are loose. */
export interface Statement {
  run(...values: readonly (string | number)[]): unknown;
  get(...values: readonly (string | number)[]): unknown;
  all(...values: readonly (string | number)[]): unknown[];
}
export interface Database {
  exec(sql: string): unknown;
  prepare(sql: string): Statement;
  close(): unknown;
}
export type DatabaseClass = new (path: string, options: { timeout: number }) => Database;

export interface Connection {
  /** One transaction of all of them. Returns seconds; throws when they are not on disk, and then nothing of them is. */
  write(batches: readonly Batch[]): number;
  close(): void;
}

/** Space that has to be there before new jobs are taken again. */
const PROBE_BYTES = 256 * 1024;
/** SQLITE_IOERR_WRITE and SQLITE_IOERR_SHMSIZE: how SQLite tells a quota, and a log index that cannot grow. */
const WRITE_ERRORS: readonly unknown[] = [778, 4874];

/** Writes a file beside the store and removes it. Throws Fault QUEUE_STORE_FULL, or what the system says. */
export function probeSpace(path: string): void {
  const probe = `${path}.space`;
  try {
    const file = openSync(probe, 'w', 0o600);
    try {
      for (let left = PROBE_BYTES; left > 0; ) left -= writeSync(file, new Uint8Array(left));
      fdatasyncSync(file);
    } finally {
      closeSync(file);
    }
  } catch (error) {
    throw isNoSpace(error) ? fullFault(path, error) : error;
  } finally {
    rmSync(probe, { force: true });
  }
}

/** What a failed commit means: Fault QUEUE_STORE_FULL, or the error itself. A failed sync is never the former. */
export function commitFailure(error: unknown, path: string): unknown {
  if (errnoOf(error) === 'SQLITE_FULL') return fullFault(path, error);
  const rawCode = typeof error === 'object' && error !== null && 'rawCode' in error ? error.rawCode : null;
  if (!WRITE_ERRORS.includes(rawCode)) return error;
  try {
    probeSpace(path);
  } catch (why) {
    if (why instanceof Fault) return why;
  }
  return error;
}

/** Whether the system refused a write for want of space or quota. */
export function isNoSpace(error: unknown): boolean {
  const errno = errnoOf(error);
  return errno === 'ENOSPC' || errno === 'EDQUOT';
}

export function fullFault(path: string, cause: unknown): Fault {
  return new Fault(
    'QUEUE_STORE_FULL',
    `the disk of the job store ${path} is full (${describeError(cause)}); what runs goes on, new jobs are not taken`,
    {
      field: 'stateDir',
      remedy: `free space below ${dirname(path)}; the scheduler then goes on by itself`,
      cause,
    },
  );
}

/** Opens the writing connection to a store whose tables are there. */
export function openConnection(Libsql: DatabaseClass, path: string): Connection {
  const store = new Libsql(path, { timeout: BUSY_TIMEOUT_MS });
  // A log that starts over early is written in place, which is cheaper to sync than a file that grows.
  store.exec(
    'PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 1000; PRAGMA journal_size_limit = 67108864',
  );
  const begin = store.prepare('BEGIN IMMEDIATE');
  const commit = store.prepare('COMMIT');
  const insertJob = store.prepare('INSERT INTO job (sequence, id, state, record) VALUES (?, ?, ?, ?)');
  const insertSpec = store.prepare('INSERT INTO spec (sequence, spec) VALUES (?, ?)');
  const insertSubmission = store.prepare('INSERT INTO submission (sequence, submission) VALUES (?, ?)');
  const updateJob = store.prepare('UPDATE job SET state = ?, record = ? WHERE sequence = ?');
  const removeJob = store.prepare('DELETE FROM job WHERE sequence = ? AND id = ?');
  const removeSpec = store.prepare('DELETE FROM spec WHERE sequence = ?');
  const removeSubmission = store.prepare('DELETE FROM submission WHERE sequence = ?');
  const putNode = store.prepare(
    'INSERT INTO node (id, record) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET record = excluded.record',
  );
  const putDocument = store.prepare(
    'INSERT INTO document (kind, id, value) VALUES (?, ?, ?) ON CONFLICT (kind, id) DO UPDATE SET value = excluded.value',
  );
  const removeDocument = store.prepare('DELETE FROM document WHERE kind = ? AND id = ?');
  function put({ removed, inserted, updated, nodes, documents }: Batch): void {
    for (const [sequence, id] of removed) {
      removeJob.run(sequence, id);
      removeSpec.run(sequence);
      removeSubmission.run(sequence);
    }
    for (const [sequence, id, state, record, spec, submission] of inserted) {
      if (spec !== null) insertSpec.run(sequence, spec);
      if (submission !== null) insertSubmission.run(sequence, submission);
      insertJob.run(sequence, id, state, record);
    }
    for (const row of updated) updateJob.run(...row);
    for (const row of nodes) putNode.run(...row);
    for (const [kind, id, value] of documents) {
      if (value === null) removeDocument.run(kind, id);
      else putDocument.run(kind, id, value);
    }
  }

  return {
    write(batches) {
      const startedMs = performance.now();
      try {
        begin.run();
        for (const batch of batches) put(batch);
        commit.run();
      } catch (error) {
        try {
          store.exec('ROLLBACK');
        } catch {
          // A failed COMMIT may have rolled back by itself.
        }
        throw error;
      }
      return (performance.now() - startedMs) / 1000;
    },
    close: () => {
      store.close();
    },
  };
}

/** A writer in this thread: the sync of each commit blocks the event loop. */
export function createLocalWriter(Libsql: DatabaseClass, path: string): StoreWriter {
  const connection = openConnection(Libsql, path);
  return {
    async commit(batch) {
      try {
        return connection.write([batch]);
      } catch (error) {
        throw commitFailure(error, path);
      }
    },
    probe: async () => probeSpace(path),
    close: async () => connection.close(),
  };
}
