// What this agent knows of its attempts: the state behind the journal. Records change it, and it can list the
// records that would make it again. No I/O. INVARIANTS: an attempt is found by (job, epoch); what is closed stays
// refused as long as it is remembered, and no epoch below one that was seen is ever accepted.
//
// The journal may have been written by a newer build that was then rolled back. Fields that are unknown here are
// ignored; records that are not understood are kept aside. Both are written again as they were, whenever the journal is
// written anew: the newer build may come back.
import { SETTLED_CODE, type StartOrder } from '../protocol/control.ts';
import type { SignedStart } from '../protocol/order.ts';
import { readStart } from '../protocol/order-seal.ts';
import type { JobResult } from '../protocol/result.ts';
import { parseTolerant } from '../protocol/tolerant.ts';
import { type ClosedName, createClosedNames } from './closed-names.ts';
import type { Execution } from './executor/executor.ts';
import {
  acceptedHead,
  acceptedRecord,
  acceptedSignedSchema,
  beganRecord,
  closedRecord,
  type JournalRecord,
  journalRecordSchema,
  stopRecord,
} from './journal-record.ts';

/** Records that are not understood and are kept all the same; the oldest are given up first. */
export const ASIDE_MAX = 4096;

export interface Stop {
  readonly by: string;
  readonly reason: string;
  /** Code of the device fault that it is stopped for; null when somebody asked. */
  readonly fault: string | null;
}

/** What a job is given of this node's devices: variables that hide what is not its own, and device nodes. */
export interface Granted {
  readonly environment: Readonly<Record<string, string>>;
  readonly deviceNodes: readonly string[];
  /** The node of some device is not known, so that these are not all that the job needs. */
  readonly nodesUnknown?: boolean | undefined;
  /** See `DeviceGrant`. */
  readonly cdiNames?: readonly (readonly string[])[] | undefined;
  readonly hostCounted?: readonly string[] | undefined;
}

/** How an attempt is walled in and limited, as its result tells it. */
export interface Walled {
  /** The attempt's own user; null for the agent's. */
  readonly userId: number | null;
  readonly limits: Readonly<Record<string, string>>;
  readonly isolation: Readonly<Record<string, string>>;
}

/** A start order as it was signed. */
export interface OrderProof {
  readonly message: SignedStart;
  /** A copy of it is good until then (wall clock), give or take the skew. */
  readonly expiresAtMs: number;
}

export interface Attempt {
  readonly jobId: string;
  readonly epoch: number;
  /** Null for one whose order was lost with a damaged journal. */
  readonly order: StartOrder | null;
  /** Null for an order of version 1, and for one that was lost. */
  readonly proof: OrderProof | null;
  /** Boot id at the time of the order; null if not known. */
  readonly bootId: string | null;
  /** Null where the node has no devices, so that there is nothing to give or to hide. */
  readonly granted: Granted | null;
  /** Its record as a newer build wrote it; null where this build would write the same. */
  readonly written: object | null;
  /** Null where it is not known: its order was lost, or an earlier build took it. */
  walled: Walled | null;
  phase: 'accepted' | 'running' | 'ended';
  /** Its program was seen to run: it must not be started, whatever its folder has lost. */
  began: boolean;
  /** Resolves when the order is on disk; false if it could not be. */
  durable: Promise<boolean>;
  stop: Stop | null;
  execution: Execution | null;
  started: { readonly pid: number; readonly atMs: number } | null;
  result: JobResult | null;
  /** The result is on disk. Until then its folder stays: nothing else on disk says that the attempt is over. */
  stored: boolean;
  /** The disk is asked for it once more. */
  storing: boolean;
  /** The result has been told: it is on disk, or the disk is broken. */
  told: boolean;
  acknowledged: boolean;
  /** Monotonic time of the acknowledgement in this process. */
  acknowledgedAtMs: number | null;
  deliveredStdoutBytes: number;
  deliveredStderrBytes: number;
  /** Counted in the node's held resources. */
  holds: boolean;
  removing: boolean;
}

/** An attempt that is over: why a start order for it is refused, or `JOB_SETTLED`. */
export interface Closed {
  readonly code: string;
  readonly message: string;
}

export const SETTLED = SETTLED_CODE;

export type NewAttempt = Pick<Attempt, 'jobId' | 'epoch' | 'order' | 'bootId' | 'granted'> &
  Partial<Pick<Attempt, 'walled' | 'written' | 'proof'>>;

export interface Book {
  find(jobId: string, epoch: number): Attempt | null;
  attempts(): Iterable<Attempt>;
  /** Attempts with a result, in the order of their ends. */
  ended(): Iterable<Attempt>;
  size(): number;
  add(attempt: NewAttempt): Attempt;
  /** First writer wins; false for a later one. */
  setResult(attempt: Attempt, result: JobResult): boolean;
  /**
   * The attempt is over: forgotten, but for its name. `untilMs` (wall clock): until when a copy of its order may be good;
   * that of the order it was accepted by, if it was.
   */
  close(jobId: string, epoch: number, closed: Closed, untilMs?: number): ClosedName;
  /** Names of orders that were good until then have been forgotten. */
  forgot(untilMs: number): void;
  /** Whether the name of an order that is good until then (wall clock) may have been forgotten here. */
  mayBeForgotten(untilMs: number, nowMs: number): boolean;
  closed(jobId: string, epoch: number): Closed | null;
  /** The attempt of a job that has no result yet; there is at most one. */
  unfinished(jobId: string): Attempt | null;
  /** Highest epoch seen of a job, 0 for none. */
  highestEpoch(jobId: string): number;
  /** Takes a record of the journal; false for one that is not understood and kept aside. Safe to repeat. */
  replay(record: unknown): boolean;
  /** The records from which all this can be made again. */
  records(): Iterable<object>;
}

const keyOf = (jobId: string, epoch: number): string => `${jobId}.${epoch}`;

export function createBook(): Book {
  const attempts = new Map<string, Attempt>();
  const ended = new Map<string, Attempt>();
  const unfinished = new Map<string, Attempt>();
  const closed = createClosedNames();
  /** By their text, so that one that comes twice is kept once. */
  const aside = new Map<string, object>();

  const book: Book = {
    find: (jobId, epoch) => attempts.get(keyOf(jobId, epoch)) ?? null,
    attempts: () => attempts.values(),
    ended: () => ended.values(),
    size: () => attempts.size,

    add({ jobId, epoch, order, bootId, granted, walled = null, written = null, proof = null }) {
      const attempt: Attempt = {
        jobId,
        epoch,
        order,
        proof,
        bootId,
        granted,
        written,
        walled,
        phase: 'accepted',
        began: false,
        durable: DURABLE,
        stop: null,
        execution: null,
        started: null,
        result: null,
        stored: false,
        storing: false,
        told: false,
        acknowledged: false,
        acknowledgedAtMs: null,
        deliveredStdoutBytes: 0,
        deliveredStderrBytes: 0,
        holds: false,
        removing: false,
      };
      attempts.set(keyOf(jobId, epoch), attempt);
      unfinished.set(jobId, attempt);
      closed.see(jobId, epoch);
      return attempt;
    },

    setResult(attempt, result) {
      if (attempt.result !== null) return false;
      attempt.result = result;
      attempt.phase = 'ended';
      if (unfinished.get(attempt.jobId) === attempt) unfinished.delete(attempt.jobId);
      ended.set(keyOf(attempt.jobId, attempt.epoch), attempt);
      return true;
    },

    close(jobId, epoch, why, untilMs) {
      const key = keyOf(jobId, epoch);
      const attempt = attempts.get(key);
      if (attempt !== undefined && unfinished.get(jobId) === attempt) unfinished.delete(jobId);
      attempts.delete(key);
      ended.delete(key);
      const name = { jobId, epoch, closed: why, untilMs: untilMs ?? attempt?.proof?.expiresAtMs ?? 0 };
      closed.add(name);
      return name;
    },
    forgot: closed.forgot,
    mayBeForgotten: closed.mayBeForgotten,

    closed: closed.find,
    unfinished: (jobId) => unfinished.get(jobId) ?? null,
    highestEpoch: closed.highestEpoch,

    replay(record) {
      if (isSigned(record)) {
        if (replaySigned(book, record)) return true;
      }
      const parsed = parseTolerant(journalRecordSchema, record);
      if (parsed.success) {
        apply(book, parsed.data, record as object, parsed.ignored.length > 0);
        return true;
      }
      if (typeof record !== 'object' || record === null) return false;
      // Its job runs here, whatever it may have asked for: it is taken up from its folder.
      const head = acceptedHead.safeParse(record);
      if (head.success) {
        const { jobId, epoch } = head.data.order;
        const { bootId } = head.data;
        if (book.find(jobId, epoch) === null && book.closed(jobId, epoch) === null)
          book.add({ jobId, epoch, order: null, bootId, granted: null, written: record });
        return false;
      }
      aside.set(JSON.stringify(record), record);
      for (const key of aside.keys()) {
        if (aside.size <= ASIDE_MAX) break;
        aside.delete(key);
      }
      return false;
    },

    *records() {
      yield* aside.values();
      const names = [...closed.all()];
      if (names.length > 0) yield closedRecord(names, closed.forgottenUntilMs());
      for (const attempt of attempts.values()) {
        const { order, bootId, stop, written } = attempt;
        if (written !== null) yield written;
        else if (order !== null && bootId !== null) yield acceptedRecord(attempt, order, bootId);
        if (attempt.began) yield beganRecord(attempt);
        if (stop !== null) yield stopRecord(attempt, stop);
      }
      for (const { jobId, epoch, result, acknowledged } of ended.values()) {
        if (result !== null) yield { kind: 'result', result };
        if (acknowledged) yield { kind: 'acknowledged', jobId, epoch };
      }
    },
  };
  return book;
}

const DURABLE = Promise.resolve(true);

function isSigned(record: unknown): record is object {
  return typeof record === 'object' && record !== null && 'proof' in record;
}

/** Takes an order as it was signed; false where this build does not understand all of it. */
function replaySigned(book: Book, record: object): boolean {
  const parsed = parseTolerant(acceptedSignedSchema, record);
  if (!parsed.success) return false;
  const { proof, bootId, granted = null, walled = null } = parsed.data;
  const opened = tryRead(proof);
  if (opened === null) return false;
  const { order, body } = opened;
  const { jobId, epoch } = order;
  if (book.find(jobId, epoch) !== null || book.closed(jobId, epoch) !== null) return true;
  const written = parsed.ignored.length > 0 ? record : null;
  const { expiresAtMs } = body;
  book.add({ jobId, epoch, order, proof: { message: proof, expiresAtMs }, bootId, granted, walled, written });
  return true;
}

function tryRead(proof: SignedStart): ReturnType<typeof readStart> | null {
  try {
    return readStart(proof);
  } catch {
    // Of a newer build: its job is taken up from its folder.
    return null;
  }
}

function apply(book: Book, record: JournalRecord, raw: object, isNewer: boolean): void {
  switch (record.kind) {
    case 'accepted': {
      const { order, bootId, granted = null, walled = null } = record;
      if (book.find(order.jobId, order.epoch) !== null || book.closed(order.jobId, order.epoch) !== null)
        return;
      const written = isNewer ? raw : null;
      book.add({ jobId: order.jobId, epoch: order.epoch, order, bootId, granted, walled, written });
      return;
    }
    case 'began': {
      const attempt = book.find(record.jobId, record.epoch);
      if (attempt !== null) attempt.began = true;
      return;
    }
    case 'stop': {
      const attempt = book.find(record.jobId, record.epoch);
      if (attempt !== null)
        attempt.stop ??= { by: record.by, reason: record.reason, fault: record.fault ?? null };
      return;
    }
    case 'result': {
      // The record as it was written, not as it was parsed: it is sent again byte for byte.
      const { result } = raw as { result: JobResult };
      const { jobId, epoch } = result;
      if (book.closed(jobId, epoch) !== null) return;
      const attempt =
        book.find(jobId, epoch) ?? book.add({ jobId, epoch, order: null, bootId: null, granted: null });
      if (book.setResult(attempt, result)) {
        attempt.stored = true;
        attempt.told = true;
      }
      return;
    }
    case 'acknowledged': {
      const attempt = book.find(record.jobId, record.epoch);
      if (attempt !== null) attempt.acknowledged = true;
      return;
    }
    case 'closed':
      for (const [at, [jobId, epoch, code, message]] of record.list.entries())
        book.close(jobId, epoch, { code, message }, record.until?.[at]);
      book.forgot(record.forgottenUntilMs ?? 0);
  }
}
