// The job room's memory across restarts: records (journal-format.ts) in a file that only grows, until it is written
// anew with what is still alive. Damaged records are kept aside and reported; the rest is read.
//
// Group commit: all records of one turn of the event loop, and all that come while the disk works, share one write
// and one sync. INVARIANT: a failed write or sync is final for that file. Nothing that waited for it is believed;
// the journal is written anew from memory, and until that has worked nothing is promised.
import { createBackoff } from '../base/backoff.ts';
import type { Clock, Timer } from '../base/clock.ts';
import { describeError, errnoOf, Fault } from '../base/fault.ts';
import type { Log } from '../base/log.ts';
import { encodeRecord, parseJournal, type ReadJournal, writtenBytes } from './journal-format.ts';

/** Below this size a journal is never compacted. */
const COMPACT_MIN_BYTES = 4 * 1024 * 1024;
/** It is compacted when it has grown to this multiple of what was alive last time. */
const COMPACT_FACTOR = 4;
/** Records that nobody waits for are written at the latest after this time. */
const LAZY_MS = 1000;
const REWRITE_MIN_MS = 500;
const REWRITE_MAX_MS = 30_000;

/** Where a journal lies; a seam for tests of disks that fail. */
export interface JournalDisk {
  /** All bytes, empty for a new journal. Throws the system's error. */
  read(): Uint8Array;
  /** Keeps damaged bytes aside; never throws. */
  quarantine(bytes: Uint8Array): void;
  /** Writes at the end; resolves when it is on disk. After a failure only `replace` may be called. */
  append(bytes: Uint8Array): Promise<void>;
  /** Replaces the whole; resolves when it is on disk. */
  replace(bytes: Uint8Array): Promise<void>;
  /** Frees space that was set aside for a full disk; false when there is none. */
  releaseReserve(): boolean;
  close(): Promise<void>;
}

/** In place of a disk that cannot even be read: there is nothing on it, and nothing can be put there. */
export function createLostDisk(cause: unknown): JournalDisk {
  const refuse = (): Promise<never> => Promise.reject(cause);
  return {
    read: () => new Uint8Array(),
    quarantine() {},
    append: refuse,
    replace: refuse,
    releaseReserve: () => false,
    close: async () => {},
  };
}

export interface Journal {
  /** Resolves when the record is on disk; rejects with JOB_JOURNAL_FAILED when that cannot be promised. */
  append(record: object): Promise<void>;
  /** Written with the next batch; for facts whose loss only repeats work. */
  appendLazily(record: object): void;
  /** Why nothing can be made durable at present, or null. */
  problem(): string | null;
  /** Writes what waits and closes. */
  close(): Promise<void>;
}

export interface JournalOptions {
  readonly disk: JournalDisk;
  /** All records that are still needed, for writing the journal anew. */
  readonly live: () => Iterable<object>;
  readonly clock: Clock;
  readonly log: Log;
  /** Uniform in [0, 1); spreads the attempts to write anew. */
  readonly random: () => number;
}

interface Batch {
  readonly promise: Promise<void>;
  resolve(): void;
  reject(error: unknown): void;
}

function createBatch(): Batch {
  const batch: { resolve(): void; reject(error: unknown): void } = { resolve() {}, reject() {} };
  const promise = new Promise<void>((resolve, reject) => {
    batch.resolve = resolve;
    batch.reject = reject;
  });
  promise.catch(() => {}); // each append hands it out again; a batch of lazy records has nobody else
  return { promise, resolve: () => batch.resolve(), reject: (error) => batch.reject(error) };
}

/** Reads the journal, mends it, and opens it for more. Throws the system's error when it cannot be read at all. */
export async function openJournal(options: JournalOptions): Promise<{ journal: Journal; read: ReadJournal }> {
  const { disk, log } = options;
  const bytes = disk.read();
  const read = parseJournal(bytes);
  const journal = createJournal(options, writtenBytes(bytes));
  if (bytes.length === 0) await disk.replace(bytes).catch((error: unknown) => journal.fail(error));
  if (read.damage.length > 0) {
    for (const { from, to, kind } of read.damage) {
      log.warn(
        { from, to, kind },
        kind === 'torn' ? 'journal: torn tail cut off' : 'journal: damaged records set aside',
      );
      if (to > from) disk.quarantine(bytes.subarray(from, to));
    }
    const whole = Buffer.from(read.records.map((record) => encodeRecord(record as object)).join(''));
    await disk.replace(whole).catch((error: unknown) => journal.fail(error));
  }
  return { journal, read };
}

function createJournal(
  options: JournalOptions,
  openedBytes: number,
): Journal & { fail(error: unknown): void } {
  const { disk, live, clock, log, random } = options;
  const backoff = createBackoff({ minMs: REWRITE_MIN_MS, maxMs: REWRITE_MAX_MS, random });
  let sizeBytes = openedBytes;
  let compactAtBytes = Math.max(COMPACT_MIN_BYTES, openedBytes * COMPACT_FACTOR);
  let lines: string[] = [];
  let batch: Batch | null = null;
  let working: Promise<void> | null = null;
  let timer: Timer | null = null;
  let problem: string | null = null;
  let closed = false;

  function refusal(cause?: unknown): Fault {
    return new Fault('JOB_JOURNAL_FAILED', `no durable space: ${problem ?? 'the journal is closed'}`, {
      cause,
      remedy: 'free space on the disk of the state directory, or mend it',
    });
  }

  function fail(error: unknown): void {
    if (problem === null)
      log.error({ err: error }, 'journal: cannot be written; no orders are accepted until it can');
    problem = describeError(error);
    if (closed) return;
    timer = clock.after(backoff.next(), () => {
      timer = null; // or lazy records that come later would wait for it
      void rewrite();
    });
  }

  /** Writes all that is alive anew; the way out of every failure, and of growth. */
  async function rewrite(): Promise<void> {
    const text: string[] = [];
    for (const record of live()) text.push(encodeRecord(record));
    const bytes = Buffer.from(text.join(''));
    try {
      await disk.replace(bytes).catch((error: unknown) => {
        if (errnoOf(error) !== 'ENOSPC' || !disk.releaseReserve()) throw error;
        return disk.replace(bytes);
      });
      if (problem !== null) log.info({}, 'journal: written anew, orders are accepted again');
      problem = null;
      backoff.reset();
      sizeBytes = bytes.length;
      compactAtBytes = Math.max(COMPACT_MIN_BYTES, sizeBytes * COMPACT_FACTOR);
    } catch (error) {
      fail(error);
    }
  }

  /** Runs until nothing waits. One at a time. */
  async function work(): Promise<void> {
    while (lines.length > 0) {
      const taken = batch;
      const bytes = Buffer.from(lines.join(''));
      lines = [];
      batch = null;
      try {
        if (problem !== null) throw refusal();
        await disk.append(bytes);
        sizeBytes += bytes.length;
        taken?.resolve();
      } catch (error) {
        if (problem === null) fail(error);
        taken?.reject(refusal(error));
      }
      if (problem === null && sizeBytes > compactAtBytes) await rewrite();
    }
  }

  function startWork(): void {
    timer?.cancel();
    timer = null;
    // From the end of this turn, so that everything that happens in it shares the batch.
    working ??= Promise.resolve()
      .then(work)
      .finally(() => {
        working = null;
        if (lines.length > 0) startWork();
      });
  }

  return {
    fail,
    append(record) {
      if (closed || problem !== null) return Promise.reject(refusal());
      lines.push(encodeRecord(record));
      batch ??= createBatch();
      const { promise } = batch;
      startWork();
      return promise;
    },
    appendLazily(record) {
      // While nothing can be written the record is in `live` all the same, and goes into the new journal.
      if (closed || problem !== null) return;
      lines.push(encodeRecord(record));
      if (working === null) timer ??= clock.after(LAZY_MS, startWork);
    },
    problem: () => problem,
    async close() {
      if (lines.length > 0 && problem === null) startWork();
      closed = true;
      timer?.cancel();
      while (working !== null) await working;
      await disk.close();
    },
  };
}
