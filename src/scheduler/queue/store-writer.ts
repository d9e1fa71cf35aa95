// The one that writes the embedded store: rows in, one transaction a batch, an answer after COMMIT. It runs in a
// thread of its own (thread-writer.ts), so that the sync of the disk holds up nobody; where no script for such a
// thread is at hand it runs in this one, behind the same interface. It knows rows, not jobs.

/** How long the writer waits for another process that holds the store. */
export const BUSY_TIMEOUT_MS = 200;

/** Changed rows; within a batch each row stands once. Plain arrays, so that they cross to a thread cheaply. */
export interface Batch {
  /** sequence, id, state, record, spec */
  readonly inserted: readonly (readonly [number, string, string, string, string])[];
  /** state, record, sequence */
  readonly updated: readonly (readonly [string, string, number])[];
  /** id, record */
  readonly nodes: readonly (readonly [string, string])[];
}

export interface StoreWriter {
  /**
   * Resolves, when the batch is on disk, to the seconds that the transaction took. One at a time. A rejection is
   * final: the batch is not promised, and no other may be given.
   */
  commit(batch: Batch): Promise<number>;
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
  /** Returns seconds; throws when the batch is not on disk, and then nothing of it is. */
  write(batch: Batch): number;
  close(): void;
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
  const updateJob = store.prepare('UPDATE job SET state = ?, record = ? WHERE sequence = ?');
  const putNode = store.prepare(
    'INSERT INTO node (id, record) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET record = excluded.record',
  );
  return {
    write({ inserted, updated, nodes }) {
      const startedMs = performance.now();
      try {
        begin.run();
        for (const [sequence, id, state, record, spec] of inserted) {
          insertSpec.run(sequence, spec);
          insertJob.run(sequence, id, state, record);
        }
        for (const row of updated) updateJob.run(...row);
        for (const row of nodes) putNode.run(...row);
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
    commit: async (batch) => connection.write(batch),
    close: async () => connection.close(),
  };
}
