// The queue on one SQLite file (store.ts), for one scheduler process. Memory answers; a writer, in a thread of its
// own, stores. While one commit is on its way to the disk, changes gather in the next batch: the slower the disk,
// the more of them share a sync. The promises resolve after COMMIT, which with synchronous=FULL means after the
// sync of the write-ahead log.
import type { Clock, Timer } from '../../base/clock.ts';
import { describeError, Fault, isFault } from '../../base/fault.ts';
import type { Log } from '../../base/log.ts';
import { nextTurn } from '../../base/turns.ts';
import { isFinalState } from '../../protocol/result.ts';
import { createArrayIndex } from './array-index.ts';
import { type ChangeBatch, createChangeLine, piecesOf, rowsOf, sizeOf } from './change-line.ts';
import { asStored, createDocuments } from './documents.ts';
import { createJobIndex, type Indexed } from './job-index.ts';
import { createJobSearch } from './job-search.ts';
import type { DocumentKind, EndedJob, NodeRecord, Queue } from './queue.ts';
import { createReader, openStore, type StoreReader, takeLock, unusable } from './store.ts';
import {
  type Batch,
  createLocalWriter,
  type Database,
  type DatabaseClass,
  type StoreWriter,
} from './store-writer.ts';
import { startThreadWriter } from './thread-writer.ts';

/** Finished jobs kept in memory. */
const FINISHED_IN_MEMORY = 10_000;
/** How long a change that nobody waits for may wait for company: a job that ends sooner costs one commit less. */
const SOON_MS = 25;
/** Records that are written down in one turn of the event loop. */
const PIECE_RECORDS = 1000;
/** How long after a commit that found no space the next try is made. */
export const FULL_RETRY_MS = 500;
/** Batches that may wait for space; a change beyond them is refused. */
const MAX_STALLED_BATCHES = 16;

export interface EmbeddedQueueOptions {
  /** The database file; its folder exists. */
  readonly path: string;
  readonly clock: Clock;
  readonly log: Log;
  /** Script of the writer's thread; without it, commits are made in this thread. */
  readonly writerScript?: URL | null;
  readonly finishedInMemory?: number;
  /** Told after each commit: how long it took and how many records it wrote. */
  readonly committed?: (seconds: number, records: number) => void;
  /** Told when a full disk has space again and everything that waited is on it. */
  readonly resumed?: () => void;
  /** Makes the writer, in place of the one that the options describe. */
  readonly startWriter?: (lost: (cause: unknown) => void) => StoreWriter;
}

/** Opens or creates the store. Throws Fault QUEUE_IN_USE, QUEUE_STORE_NEWER or QUEUE_STORE_UNUSABLE. */
export async function openEmbeddedQueue(options: EmbeddedQueueOptions): Promise<Queue> {
  const { path } = options;
  const { default: Libsql } = (await import('libsql')) as unknown as { default: DatabaseClass };
  const lock = takeLock(Libsql, path);
  let store: Database | null = null;
  try {
    const opened = openStore(Libsql, path);
    store = opened;
    const script = options.writerScript ?? null;
    const startWriter = (lost: (cause: unknown) => void) =>
      script === null ? createLocalWriter(Libsql, path) : startThreadWriter({ script, path, lost });
    return createQueue(
      {
        reader: createReader(opened),
        startWriter: options.startWriter ?? startWriter,
        close() {
          opened.close();
          lock.release();
        },
      },
      options,
    );
  } catch (error) {
    store?.close();
    lock.release();
    throw isFault(error) ? error : unusable(path, error);
  }
}

/** Where the queue keeps its rows: a file, or what a simulation takes for one. */
export interface QueueDisk {
  readonly reader: StoreReader;
  /** `lost` is called when the writer has ended by itself. */
  startWriter(lost: (cause: unknown) => void): StoreWriter;
  close(): void;
}

export function createQueue(store: QueueDisk, options: EmbeddedQueueOptions): Queue {
  const { clock, log } = options;
  const finishedInMemory = options.finishedInMemory ?? FINISHED_IN_MEMORY;
  const { reader } = store;
  const line = createChangeLine();
  const arrays = createArrayIndex((id) => search.arrayRows(id));
  const index = createJobIndex(finishedInMemory, arrays);
  const search = createJobSearch(reader, index, line, arrays);
  const nodes = new Map<string, NodeRecord>();
  let nextSequence = reader.load(index, nodes, finishedInMemory);
  const documents = createDocuments(reader.documents());
  /** The commit of the batch that is with the writer. */
  let committing: Promise<void> | null = null;
  /** Somebody waits for what is in the line. */
  let urgent = false;
  let immediate: NodeJS.Immediate | null = null;
  let soon: Timer | null = null;
  let failed: Fault | null = null;
  /** The disk is full: what waits is tried again with `retry`. */
  let stalled: { readonly fault: Fault; readonly sinceMs: number } | null = null;
  let retry: Timer | null = null;
  let closing: Promise<void> | null = null;
  const writer = store.startWriter(fail);

  /** Sees to it that the change gets to the disk: at the end of this turn, or a little later. */
  function schedule(when: 'now' | 'soon'): void {
    if (when === 'now') urgent = true;
    if (retry !== null) return;
    if (urgent && committing === null) immediate ??= setImmediate(flush);
    else if (!urgent) soon ??= clock.after(SOON_MS, () => schedule('now'));
  }

  function flush(): void {
    if (immediate !== null) clearImmediate(immediate);
    soon?.cancel();
    retry?.cancel();
    immediate = null;
    soon = null;
    retry = null;
    if (committing !== null || failed !== null) return;
    const batch = line.first();
    urgent = line.length > 1;
    if (batch !== null) committing = commit(batch);
    else if (stalled !== null && closing === null) committing = probe();
  }

  /** To the writer, a long one in pieces: all of it is one transaction. */
  async function give(batch: ChangeBatch): Promise<number> {
    if (writer.stage === undefined || sizeOf(batch) <= PIECE_RECORDS) return writer.commit(rowsOf(batch));
    let last: Batch | null = null;
    for (const piece of piecesOf(batch, PIECE_RECORDS)) {
      if (last !== null) {
        writer.stage(last);
        await nextTurn();
        if (failed !== null) throw failed;
      }
      last = piece;
    }
    return writer.commit(last ?? rowsOf(batch));
  }

  async function commit(batch: ChangeBatch): Promise<void> {
    let seconds: number;
    try {
      // A batch of which all was new is empty when that has been refused.
      seconds = await (sizeOf(batch) === 0 ? Promise.resolve(0) : give(batch));
    } catch (error) {
      committing = null;
      if (isFault(error, 'QUEUE_STORE_FULL') && closing === null) stall(error);
      else fail(error);
      return;
    }
    committing = null;
    // A writer that was lost in between has undone the batch.
    if (failed !== null) return;
    line.remove(batch);
    batch.resolve();
    options.committed?.(seconds, sizeOf(batch));
    // More may have come meanwhile; what this answer sets off in this turn joins it.
    if (urgent || stalled !== null) schedule('now');
  }

  /** No space: the line stays as it is, but for what is new, of which nobody was promised anything yet. */
  function stall(fault: Fault): void {
    if (failed !== null) return;
    if (stalled === null) {
      stalled = { fault, sinceMs: clock.monotonicMs() };
      log.error(
        { code: fault.code, cause: describeError(fault.cause), path: options.path },
        'the disk of the job store is full: no new jobs are taken until there is space',
      );
    }
    const refused = line.refuseNew(fault);
    for (const id of refused.jobIds) index.forget(id);
    for (const id of refused.nodeIds) nodes.delete(id);
    for (const { kind, id } of refused.documents) documents.set(kind, id, undefined);
    retry = clock.after(FULL_RETRY_MS, flush);
  }

  /** Everything that waited is on disk; new jobs need more than that. */
  async function probe(): Promise<void> {
    try {
      await writer.probe();
    } catch (error) {
      committing = null;
      if (isFault(error, 'QUEUE_STORE_FULL')) stall(error);
      else fail(error);
      return;
    }
    committing = null;
    if (failed !== null || stalled === null) return;
    const seconds = (clock.monotonicMs() - stalled.sinceMs) / 1000;
    stalled = null;
    log.warn(
      { seconds },
      'the disk of the job store has space again: what waited is stored, new jobs are taken',
    );
    if (line.length > 0) schedule('now');
    options.resumed?.();
  }

  /** Nothing that is not on disk yet will get there: memory forgets it. */
  function fail(cause: unknown): void {
    if (failed !== null) return;
    failed = new Fault('QUEUE_STORE_FAILED', `the job store could not be written (${describeError(cause)})`, {
      field: 'stateDir',
      remedy: 'free space on or mend the disk of the state directory, then restart the scheduler',
      cause,
    });
    log.error(
      { code: failed.code, cause: describeError(cause) },
      'job store failed; no further change is taken',
    );
    for (const batch of line.clear()) {
      undo(batch);
      batch.reject(failed);
    }
  }

  function undo(batch: ChangeBatch): void {
    // They are on disk, and are read there when somebody asks.
    for (const { state } of batch.removed.values()) index.countElsewhere(state, 1);
    for (const [id, { before }] of batch.jobs) {
      if (before === null) index.forget(id);
      else index.put(before);
    }
    for (const [id, { before }] of batch.nodes) {
      if (before === null) nodes.delete(id);
      else nodes.set(id, before);
    }
    for (const { kind, id, before } of batch.documents.values()) documents.set(kind, id, before);
  }

  function refuseWhenOver(): void {
    if (failed !== null) throw failed;
    if (closing !== null) throw new Fault('QUEUE_CLOSED', 'the job store is closed');
  }

  /** A full disk takes nothing new, and of what is known no more than a bound. */
  function refuseWhenFull(isNew: boolean): void {
    if (stalled !== null && (isNew || line.length > MAX_STALLED_BATCHES)) throw stalled.fault;
  }

  function put(entry: Indexed, before: Indexed | null, when: 'now' | 'soon'): Promise<void> {
    // A finished job that memory had let go of is counted there already.
    if (before !== null && index.get(entry.job.id) === null) index.countElsewhere(before.job.state, -1);
    index.put(entry);
    const stored = line.putJob(entry, before);
    schedule(when);
    return stored;
  }

  function isRemovable({ id, array, state }: Pick<EndedJob, 'id' | 'array' | 'state'>): boolean {
    const isAwaited = index.isAwaited(id) || (array !== null && index.isAwaited(array.id));
    const isComing = line.job(id) !== null || line.isRemoved(id);
    return isFinalState(index.get(id)?.job.state ?? state) && !isAwaited && !isComing;
  }

  /** Memory forgets them at once. */
  async function removeJobs(jobs: readonly Pick<EndedJob, 'id' | 'array' | 'state' | 'sequence'>[]) {
    refuseWhenOver();
    refuseWhenFull(false);
    const unitOf = ({ id, array }: Pick<EndedJob, 'id' | 'array'>): string => array?.id ?? id;
    const kept = new Set(jobs.filter((job) => !isRemovable(job)).map(unitOf));
    const gone = jobs.filter((job) => !kept.has(unitOf(job)));
    if (gone.length === 0) return [];
    for (const { id, array, state } of gone) {
      if (index.get(id) !== null) index.forget(id);
      else {
        index.countElsewhere(state, -1);
        arrays.forget({ array });
      }
    }
    const stored = line.putRemovals(gone);
    schedule('now');
    await stored;
    return gone.map(({ id }) => id);
  }

  async function putDocument(kind: DocumentKind, id: string, value: unknown): Promise<void> {
    refuseWhenOver();
    const before = documents.of(kind).get(id);
    refuseWhenFull(before === undefined);
    documents.set(kind, id, value);
    const stored = line.putDocument({ kind, id, now: value, before });
    schedule('now');
    await stored;
  }

  async function close(): Promise<void> {
    while (failed === null && line.first() !== null) {
      flush();
      await committing;
    }
    retry?.cancel();
    await committing;
    await writer.close();
    store.close();
  }

  return {
    async insertJob(job) {
      refuseWhenOver();
      refuseWhenFull(true);
      if (search.find(job.id) !== null) throw exists(job.id);
      const sequence = nextSequence++;
      await put({ job, sequence, specOf: sequence }, null, 'now');
    },
    async insertArray(jobs) {
      refuseWhenOver();
      refuseWhenFull(true);
      const [head] = jobs;
      if (head === undefined || head.array === null) throw new Error('not the jobs of an array');
      const { id } = head.array;
      if (arrays.get(id) !== null) throw exists(id);
      const specOf = nextSequence;
      const entries = jobs.map((job) => ({ job, sequence: nextSequence++, specOf }));
      arrays.create(id, head.array.index, jobs.length);
      for (const entry of entries) index.put(entry);
      const stored = line.putNewJobs(entries);
      schedule('now');
      await stored;
    },
    async updateJob(id, change, when = 'now') {
      refuseWhenOver();
      refuseWhenFull(false);
      const before = search.find(id);
      if (before === null) throw new Fault('QUEUE_JOB_UNKNOWN', `there is no job ${id}`);
      await put({ ...before, job: { ...before.job, ...change } }, before, when);
    },
    job: (id) => search.find(id)?.job ?? null,
    jobsByPrefix: search.byPrefix,
    jobs: (filter) => search.jobs(filter, nextSequence),
    array: (id) => arrays.get(id),
    arraysByPrefix: search.arraysByPrefix,
    pending: () => index.pending(),
    active: (nodeId) => index.active(nodeId),
    counts: () => index.counts(),
    endedJobs(after, limit) {
      const there = reader.ended(after, limit + line.removals()).filter(({ id }) => !line.isRemoved(id));
      return there.slice(0, limit);
    },
    isAwaited: (id) => index.isAwaited(id),
    removeJobs,
    async putNode(node) {
      refuseWhenOver();
      const before = nodes.get(node.id) ?? null;
      refuseWhenFull(before === null);
      nodes.set(node.id, node);
      const stored = line.putNode(node, before);
      schedule('now');
      await stored;
    },
    node: (id) => nodes.get(id) ?? null,
    nodes: () => [...nodes.values()],
    async putDocument(kind, id, value) {
      await putDocument(kind, id, asStored(value));
    },
    async removeDocument(kind, id) {
      if (documents.of(kind).has(id)) await putDocument(kind, id, undefined);
    },
    documents: documents.of,
    failure: () => failed ?? stalled?.fault ?? null,
    close() {
      closing ??= close();
      return closing;
    },
  };
}

function exists(id: string): Fault {
  return new Fault('QUEUE_JOB_EXISTS', `job ${id} exists already`);
}
