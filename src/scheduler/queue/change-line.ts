// Changes on their way to the disk, as a line of batches: the first may be with the writer, the last takes what is
// asked for now. A job that changes again before its batch has left is written once, with its last record. Memory
// may have let go of a finished job that is still in this line. What is new, and every change to it while it is in
// the line, has a promise of its own, so that it can be refused alone when the disk is full.
import type { Fault } from '../../base/fault.ts';
import type { Indexed } from './job-index.ts';
import { recordText } from './job-row.ts';
import type { DocumentKind, EndedJob, NodeRecord } from './queue.ts';
import type { Batch } from './store-writer.ts';

/** A batch that has grown to this takes no further record, so that the writer never holds more. */
export const MAX_BATCH_BYTES = 4 * 1024 * 1024;
/** What a record is taken to be long, without the specification, and that of a job that has not been placed yet. */
const RECORD_BYTES = 2048;
const NEW_RECORD_BYTES = 384;
const REMOVAL_BYTES = 64;

export interface ChangedJob {
  readonly now: Indexed;
  /** The record before, or null for a new job. */
  readonly before: Indexed | null;
  /** JSON of the specification of a new job; null for those that share the one of the first of their array. */
  readonly spec: string | null;
  /** JSON of what its submitter signed, where `spec` is not null. */
  readonly submission: string | null;
}

export interface DocumentChange {
  readonly kind: DocumentKind;
  readonly id: string;
  /** The value now and before; undefined where there is none. */
  readonly now: unknown;
  readonly before: unknown;
}

export type RemovedJob = Pick<EndedJob, 'id' | 'state' | 'sequence'>;

export interface ChangeBatch {
  /** Taken out before anything of the batch is put in. */
  readonly removed: Map<string, RemovedJob>;
  readonly jobs: Map<string, ChangedJob>;
  /** The record now and before (null for a new node). */
  readonly nodes: Map<string, { readonly now: NodeRecord; readonly before: NodeRecord | null }>;
  readonly documents: Map<string, DocumentChange>;
  /** Settles when the batch is on disk, or is not: for changes to what is on disk already. */
  readonly stored: Promise<void>;
  /** The same for jobs, nodes and documents that are in the line only. */
  readonly created: Promise<void>;
  resolve(): void;
  reject(error: Fault): void;
  /** Rejects `created` and takes another in its place. */
  rejectCreated(error: Fault): void;
}

export interface ChangeLine {
  putJob(now: Indexed, before: Indexed | null): Promise<void>;
  /** New jobs, all in one batch however long it gets. */
  putNewJobs(entries: readonly Indexed[]): Promise<void>;
  /** Jobs that are on disk and not in the line, all in one batch. */
  putRemovals(jobs: readonly RemovedJob[]): Promise<void>;
  putNode(now: NodeRecord, before: NodeRecord | null): Promise<void>;
  putDocument(change: DocumentChange): Promise<void>;
  /** The latest record of a job that is in the line. */
  job(id: string): Indexed | null;
  /** It is on disk still, and will not be. */
  isRemoved(id: string): boolean;
  /** How many are. */
  removals(): number;
  /** All jobs in the line, each with its latest record. */
  jobs(): ReadonlyMap<string, Indexed>;
  /** The oldest batch, from now on closed to further changes; it stays in the line until `remove`. */
  first(): ChangeBatch | null;
  remove(batch: ChangeBatch): void;
  /** Batches in it. */
  readonly length: number;
  /** Takes out everything that is not on disk yet, and tells what. Not while a batch is with the writer. */
  refuseNew(error: Fault): Refused;
  /** Takes all out, the youngest first: the order in which to undo them. */
  clear(): readonly ChangeBatch[];
}

export interface Refused {
  readonly jobIds: readonly string[];
  readonly nodeIds: readonly string[];
  readonly documents: readonly DocumentChange[];
}

export function createChangeLine(): ChangeLine {
  /** Oldest first. */
  const batches: ChangeBatch[] = [];
  let open: ChangeBatch | null = null;
  let openBytes = 0;
  /** Jobs, nodes and documents of which the first record is in the line. */
  const newJobs = new Set<string>();
  const newNodes = new Set<string>();
  const newDocuments = new Map<string, DocumentChange>();

  function take(bytes: number): ChangeBatch {
    if (open === null || openBytes + bytes > MAX_BATCH_BYTES) {
      open = createBatch();
      openBytes = 0;
      batches.push(open);
    }
    openBytes += bytes;
    return open;
  }

  return {
    putNewJobs(entries) {
      const texts = entries.map((now) => (now.specOf === now.sequence ? textsOf(now) : noTexts));
      const bytes = texts.reduce((sum, one) => sum + one.bytes, entries.length * NEW_RECORD_BYTES);
      const batch = take(bytes);
      for (const [at, now] of entries.entries()) {
        const { spec, submission } = texts[at] ?? noTexts;
        batch.jobs.set(now.job.id, { now, before: null, spec, submission });
        newJobs.add(now.job.id);
      }
      return batch.created;
    },
    putJob(now, before) {
      const { spec, submission, bytes } = before === null ? textsOf(now) : noTexts;
      const batch = take(RECORD_BYTES + bytes);
      const earlier = batch.jobs.get(now.job.id);
      batch.jobs.set(
        now.job.id,
        earlier === undefined ? { now, before, spec, submission } : { ...earlier, now },
      );
      if (before === null) newJobs.add(now.job.id);
      return newJobs.has(now.job.id) ? batch.created : batch.stored;
    },
    putRemovals(jobs) {
      const batch = take(jobs.length * REMOVAL_BYTES);
      for (const job of jobs) batch.removed.set(job.id, job);
      return batch.stored;
    },
    putNode(now, before) {
      const batch = take(RECORD_BYTES);
      const earlier = batch.nodes.get(now.id);
      batch.nodes.set(now.id, { now, before: earlier === undefined ? before : earlier.before });
      if (before === null) newNodes.add(now.id);
      return newNodes.has(now.id) ? batch.created : batch.stored;
    },
    putDocument(change) {
      const key = `${change.kind} ${change.id}`;
      // One that was removed a moment ago is on disk still: putting it back must not take that removal along.
      const isInLine = batches.some(({ documents }) => documents.has(key));
      if (change.before === undefined && !isInLine) newDocuments.set(key, change);
      const batch = take(documentBytes(change));
      const earlier = batch.documents.get(key);
      batch.documents.set(key, earlier === undefined ? change : { ...change, before: earlier.before });
      return newDocuments.has(key) ? batch.created : batch.stored;
    },
    job(id) {
      for (let at = batches.length - 1; at >= 0; at -= 1) {
        const found = batches[at]?.jobs.get(id);
        if (found !== undefined) return found.now;
      }
      return null;
    },
    isRemoved(id) {
      for (let at = batches.length - 1; at >= 0; at -= 1) {
        // What was removed may have come back from its node since.
        if (batches[at]?.jobs.has(id) === true) return false;
        if (batches[at]?.removed.has(id) === true) return true;
      }
      return false;
    },
    removals: () => batches.reduce((sum, { removed }) => sum + removed.size, 0),
    jobs() {
      const latest = new Map<string, Indexed>();
      for (const { jobs } of batches) for (const [id, { now }] of jobs) latest.set(id, now);
      return latest;
    },
    first() {
      const batch = batches[0] ?? null;
      if (batch === open) open = null;
      return batch;
    },
    remove(batch) {
      const at = batches.indexOf(batch);
      if (at >= 0) batches.splice(at, 1);
      for (const [id, { before }] of batch.jobs) if (before === null) newJobs.delete(id);
      for (const [id, { before }] of batch.nodes) if (before === null) newNodes.delete(id);
      for (const [key, { before }] of batch.documents) if (before === undefined) newDocuments.delete(key);
    },
    refuseNew(error) {
      const refused = {
        jobIds: [...newJobs],
        nodeIds: [...newNodes],
        documents: [...newDocuments.values()],
      };
      for (const batch of batches) {
        for (const id of newJobs) batch.jobs.delete(id);
        for (const id of newNodes) batch.nodes.delete(id);
        for (const key of newDocuments.keys()) batch.documents.delete(key);
        batch.rejectCreated(error);
      }
      newJobs.clear();
      newNodes.clear();
      newDocuments.clear();
      return refused;
    },
    get length() {
      return batches.length;
    },
    clear() {
      open = null;
      newJobs.clear();
      newNodes.clear();
      return batches.splice(0).reverse();
    },
  };
}

function documentBytes({ id, now }: DocumentChange): number {
  return id.length + (now === undefined ? 0 : JSON.stringify(now).length);
}

/** Changes of all kinds in it. */
export function sizeOf({ removed, jobs, nodes, documents }: ChangeBatch): number {
  return removed.size + jobs.size + nodes.size + documents.size;
}

const noTexts = { spec: null, submission: null, bytes: 0 };

/** What of a job is written once. */
function textsOf({ job }: Indexed): Pick<ChangedJob, 'spec' | 'submission'> & { readonly bytes: number } {
  const spec = JSON.stringify(job.spec);
  const submission = job.submission === null ? null : JSON.stringify(job.submission);
  return { spec, submission, bytes: spec.length + (submission?.length ?? 0) };
}

interface Promised {
  readonly promise: Promise<void>;
  resolve(): void;
  reject(error: Fault): void;
}

function createPromised(): Promised {
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

function createBatch(): ChangeBatch {
  const stored = createPromised();
  let created = createPromised();
  return {
    removed: new Map(),
    jobs: new Map(),
    nodes: new Map(),
    documents: new Map(),
    stored: stored.promise,
    get created() {
      return created.promise;
    },
    resolve() {
      stored.resolve();
      created.resolve();
    },
    reject(error) {
      stored.reject(error);
      created.reject(error);
    },
    rejectCreated(error) {
      created.reject(error);
      created = createPromised();
    },
  };
}

/** The rows of a batch in pieces of at most `piece` jobs; each is made when it is asked for. */
export function* piecesOf(batch: ChangeBatch, piece: number): Generator<Batch> {
  const nothing = { nodes: new Map(), documents: new Map() };
  // What is removed comes first: it may have come back since.
  let { removed } = batch;
  let jobs = new Map<string, ChangedJob>();
  for (const [id, changed] of batch.jobs) {
    if (jobs.size === piece) {
      yield rowsOf({ ...nothing, removed, jobs });
      removed = new Map();
      jobs = new Map();
    }
    jobs.set(id, changed);
  }
  yield rowsOf({ removed, jobs, nodes: batch.nodes, documents: batch.documents });
}

/** The rows of a batch. */
export function rowsOf(batch: Pick<ChangeBatch, 'removed' | 'jobs' | 'nodes' | 'documents'>): Batch {
  const inserted: Batch['inserted'][number][] = [];
  const updated: Batch['updated'][number][] = [];
  for (const { now, before, spec, submission } of batch.jobs.values()) {
    const { id, state } = now.job;
    const record = recordText(now);
    if (before === null) inserted.push([now.sequence, id, state, record, spec, submission]);
    else updated.push([state, record, now.sequence]);
  }
  const nodes = [...batch.nodes].map(([id, { now }]) => [id, JSON.stringify(now)] as const);
  const documents = [...batch.documents.values()].map(
    ({ kind, id, now }) => [kind, id, now === undefined ? null : JSON.stringify(now)] as const,
  );
  const removed = [...batch.removed.values()].map(({ sequence, id }) => [sequence, id] as const);
  return { removed, inserted, updated, nodes, documents };
}
