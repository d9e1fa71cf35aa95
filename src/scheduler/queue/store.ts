// The file of the embedded queue: its tables, its lock, and reading from it.
//
//   job   sequence (order of submission), id, state, record = JSON of the fields that change
//   spec  sequence, spec = JSON, written once, so that a change of state does not rewrite 128 KiB (job-row.ts)
//   node  id, record
//
// Tables that came later, and that an older flopd leaves alone, so that the version stays:
//
//   document    kind, id, value = JSON
//   submission  sequence, submission = JSON of what a job's submitter signed, written once
//
// Rows of jobs that are not kept any more are deleted; the file keeps its size, and its free pages are used again.
//
// A second file, `<path>.lock`, is held by an open exclusive transaction for as long as the queue is open: the
// kernel drops it with the process, so no stale lock can be left.
import { chmodSync, closeSync, openSync, statSync } from 'node:fs';
import { describeError, errnoOf, Fault } from '../../base/fault.ts';
import { memberPrefix } from '../../protocol/array.ts';
import { finalStates, type JobState } from '../../protocol/result.ts';
import type { ArrayRow } from './array-index.ts';
import type { Indexed, JobIndex } from './job-index.ts';
import { createRowParser, type JobRow, parseEnded, type SharedTexts } from './job-row.ts';
import type { DocumentKind, EndedJob, NodeRecord } from './queue.ts';
import { BUSY_TIMEOUT_MS, type Database, type DatabaseClass } from './store-writer.ts';

export const SCHEMA_VERSION = 1;
/** Records of ended jobs that are read in one turn. */
const MAX_ENDED_BYTES = 256 * 1024;

const SCHEMA = `
CREATE TABLE job (sequence INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, state TEXT NOT NULL, record TEXT NOT NULL);
CREATE INDEX job_state ON job (state, sequence);
CREATE TABLE spec (sequence INTEGER PRIMARY KEY, spec TEXT NOT NULL);
CREATE TABLE node (id TEXT PRIMARY KEY, record TEXT NOT NULL);
PRAGMA user_version = ${SCHEMA_VERSION};
`;

const LATER_TABLES = [
  'CREATE TABLE IF NOT EXISTS document (kind TEXT NOT NULL, id TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (kind, id))',
  'CREATE TABLE IF NOT EXISTS submission (sequence INTEGER PRIMARY KEY, submission TEXT NOT NULL)',
];

export interface StoredDocument {
  readonly kind: DocumentKind;
  readonly id: string;
  /** JSON. */
  readonly value: string;
}

export interface Lock {
  release(): void;
}

/** Throws Fault QUEUE_IN_USE or QUEUE_STORE_UNUSABLE. */
export function takeLock(Libsql: DatabaseClass, path: string): Lock {
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

export function unusable(path: string, cause: unknown): Fault {
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

/** Takes from others what an earlier flopd let them read, where a copy of the folder did. */
function makePrivate(path: string): void {
  try {
    if ((statSync(path).mode & 0o077) !== 0) chmodSync(path, 0o600);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
}

/** Makes or checks the tables. Throws Fault QUEUE_STORE_NEWER, or what SQLite says. */
export function openStore(Libsql: DatabaseClass, path: string): Database {
  // Jobs stand in it with their environments. The files that SQLite makes beside it get its mode.
  closeSync(openSync(path, 'a', 0o600));
  for (const name of [path, `${path}-wal`, `${path}-shm`]) makePrivate(name);
  const store = new Libsql(path, { timeout: BUSY_TIMEOUT_MS });
  try {
    store.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL');
    const row = store.prepare('PRAGMA user_version').get() as { user_version: number };
    if (row.user_version > SCHEMA_VERSION) {
      throw new Fault(
        'QUEUE_STORE_NEWER',
        `the job store ${path} has schema version ${row.user_version}, this flopd knows up to ${SCHEMA_VERSION}`,
        { field: 'stateDir', remedy: 'use the newer flopd that wrote it, or another state directory' },
      );
    }
    if (row.user_version === 0) store.exec(`BEGIN IMMEDIATE; ${SCHEMA} COMMIT;`);
    for (const table of LATER_TABLES) store.exec(table);
    return store;
  } catch (error) {
    store.close();
    throw error;
  }
}

export type StoreReader = ReturnType<typeof createReader>;

/** Reads what is on disk. `all` runs a statement to its end: one left open would keep the log from starting over. */
export function createReader(store: Database) {
  const select =
    'SELECT job.sequence AS sequence, id, record, spec, submission FROM job LEFT JOIN spec USING (sequence) LEFT JOIN submission USING (sequence)';
  const unfinishedStates = "('PENDING', 'STARTING', 'RUNNING')";
  const jobById = store.prepare(`${select} WHERE id = ?`);
  const jobsByPrefix = store.prepare(`${select} WHERE id >= ? AND id < ? ORDER BY id LIMIT ?`);
  const newest = store.prepare(`${select} ORDER BY job.sequence DESC LIMIT ?`);
  const newestOfState = store.prepare(`${select} WHERE state = ? ORDER BY job.sequence DESC LIMIT ?`);
  const below = store.prepare(`${select} WHERE job.sequence < ? ORDER BY job.sequence DESC LIMIT ?`);
  const belowOfState = store.prepare(
    `${select} WHERE state = ? AND job.sequence < ? ORDER BY job.sequence DESC LIMIT ?`,
  );
  const textsBySequence = store.prepare(
    'SELECT spec, submission FROM spec LEFT JOIN submission USING (sequence) WHERE spec.sequence = ?',
  );
  const members = store.prepare('SELECT id, state FROM job WHERE id >= ? AND id < ?');
  // Jobs of arrays have an `i` behind the ten letters of the array's id (protocol/array.ts).
  const arrays = store.prepare(
    "SELECT DISTINCT substr(id, 5, 10) AS name FROM job WHERE id >= ? AND id < ? AND substr(id, 15, 1) = 'i' LIMIT ?",
  );
  const sequencesOfState = store.prepare(
    'SELECT sequence FROM job WHERE state = ? AND sequence > ? ORDER BY sequence LIMIT ?',
  );
  const rowBySequence = store.prepare('SELECT sequence, id, record FROM job WHERE sequence = ?');
  const parse = createRowParser((sequence) => {
    const [row] = textsBySequence.all(sequence) as SharedTexts[];
    return row ?? null;
  });
  const read = (rows: readonly unknown[]): Indexed[] => (rows as JobRow[]).map(parse);
  return {
    job: (id: string): Indexed | null => read(jobById.all(id))[0] ?? null,
    // Ids are lower-case ASCII, so that `~` is after every one of them.
    byPrefix: (prefix: string, limit: number) => read(jobsByPrefix.all(prefix, `${prefix}~`, limit)),
    newest: (state: JobState | undefined, limit: number) =>
      read(state === undefined ? newest.all(limit) : newestOfState.all(state, limit)),
    /** Newest of those before a sequence. */
    below: (sequence: number, state: JobState | undefined, limit: number) =>
      read(state === undefined ? below.all(sequence, limit) : belowOfState.all(state, sequence, limit)),
    /** By the index of states, so that what waits is not walked over; records of at least one job. */
    ended(after: number, limit: number): EndedJob[] {
      const sequences = finalStates
        .flatMap((state) => sequencesOfState.all(state, after, limit) as { sequence: number }[])
        .map(({ sequence }) => sequence)
        .sort((a, b) => a - b);
      const jobs: EndedJob[] = [];
      let bytes = 0;
      for (const sequence of sequences.slice(0, limit)) {
        if (bytes > MAX_ENDED_BYTES) break;
        for (const row of rowBySequence.all(sequence) as Pick<JobRow, 'sequence' | 'id' | 'record'>[]) {
          bytes += row.record.length;
          jobs.push(parseEnded(row));
        }
      }
      return jobs;
    },
    array(id: string): ArrayRow[] {
      const prefix = memberPrefix(id);
      const rows = members.all(prefix, `${prefix}~`) as { id: string; state: JobState }[];
      return rows.map((row) => ({ index: Number(row.id.slice(prefix.length)), state: row.state }));
    },
    /** `prefix` begins with `arr-`. */
    arraysByPrefix(prefix: string, limit: number): string[] {
      const start = `job-${prefix.slice(4)}`;
      const rows = arrays.all(start, `${start}~`, limit) as { name: string }[];
      return rows.map(({ name }) => `arr-${name}`);
    },
    documents: () => store.prepare('SELECT kind, id, value FROM document').all() as StoredDocument[],
    /** Fills memory from disk; returns the next sequence. */
    load(index: JobIndex, nodes: Map<string, NodeRecord>, finishedInMemory: number): number {
      const finished = store
        .prepare(`${select} WHERE state NOT IN ${unfinishedStates} ORDER BY job.sequence DESC LIMIT ?`)
        .all(finishedInMemory);
      for (const entry of read(finished).reverse()) index.put(entry);
      const unfinished = store.prepare(`${select} WHERE state IN ${unfinishedStates} ORDER BY job.sequence`);
      for (const entry of read(unfinished.all())) index.put(entry);
      const loaded = index.counts();
      const counts = store.prepare('SELECT state, COUNT(*) AS jobs FROM job GROUP BY state').all();
      for (const { state, jobs } of counts as { state: JobState; jobs: number }[]) {
        if (jobs > loaded[state]) index.countElsewhere(state, jobs - loaded[state]);
      }
      for (const { record } of store.prepare('SELECT record FROM node').all() as { record: string }[]) {
        const node = JSON.parse(record) as NodeRecord;
        nodes.set(node.id, node);
      }
      const [row] = store.prepare('SELECT COALESCE(MAX(sequence), 0) AS last FROM job').all();
      return (row as { last: number }).last + 1;
    },
  };
}
