// What this agent knows of its attempts: the state behind the journal. Records change it, and it can list the
// records that would make it again. No I/O. INVARIANTS: an attempt is found by (job, epoch); what is closed stays
// refused as long as it is remembered, and no epoch below one that was seen is ever accepted.
//
// The journal may have been written by a newer build that was then rolled back. Fields that are unknown here are
// ignored; records that are not understood are kept aside. Both are written again as they were, whenever the journal is
// written anew: the newer build may come back.
import * as z from 'zod';
import { type StartOrder, startOrderSchema } from '../protocol/control.ts';
import { nextFields } from '../protocol/next.ts';
import { type JobResult, jobResultSchema } from '../protocol/result.ts';
import { parseTolerant } from '../protocol/tolerant.ts';
import type { Execution } from './executor/executor.ts';

/** Closed attempts that are remembered; the oldest are forgotten first. */
export const CLOSED_MAX = 8192;
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

export interface Attempt {
  readonly jobId: string;
  readonly epoch: number;
  /** Null for one whose order was lost with a damaged journal. */
  readonly order: StartOrder | null;
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

export const SETTLED = 'JOB_SETTLED';

const name = z.string().min(1).max(64);
const epoch = z.number().int().positive();
const text = z.string().max(1024);
const grantedSchema = z.strictObject({
  environment: z.record(z.string(), z.string()),
  deviceNodes: z.array(z.string()),
  nodesUnknown: z.boolean().optional(),
  cdiNames: z.array(z.array(z.string())).optional(),
  hostCounted: z.array(z.string()).optional(),
});
const walledSchema = z.strictObject({
  userId: z.number().int().nullable(),
  limits: z.record(z.string(), z.string()),
  isolation: z.record(z.string(), z.string()),
});
export const journalRecordSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('accepted'),
    order: startOrderSchema,
    bootId: text,
    granted: grantedSchema.optional(),
    walled: walledSchema.optional(),
  }),
  z.strictObject({
    kind: z.literal('stop'),
    jobId: name,
    epoch,
    by: text,
    reason: text,
    fault: z.string().max(64).optional(),
  }),
  z.strictObject({ kind: z.literal('began'), jobId: name, epoch }),
  z.strictObject({ kind: z.literal('result'), result: jobResultSchema }),
  z.strictObject({ kind: z.literal('acknowledged'), jobId: name, epoch }),
  z.strictObject({ kind: z.literal('closed'), list: z.array(z.tuple([name, epoch, text, text])) }),
]);
/** What is needed of an order that is not understood. */
const acceptedHead = z.object({
  kind: z.literal('accepted'),
  order: z.object({ jobId: z.string().regex(/^[a-z]+-[0-9a-z]{1,32}$/), epoch }),
  bootId: text,
});
export type JournalRecord = z.output<typeof journalRecordSchema>;

export type NewAttempt = Pick<Attempt, 'jobId' | 'epoch' | 'order' | 'bootId' | 'granted'> &
  Partial<Pick<Attempt, 'walled' | 'written'>>;

export interface Book {
  find(jobId: string, epoch: number): Attempt | null;
  attempts(): Iterable<Attempt>;
  /** Attempts with a result, in the order of their ends. */
  ended(): Iterable<Attempt>;
  size(): number;
  add(attempt: NewAttempt): Attempt;
  /** First writer wins; false for a later one. */
  setResult(attempt: Attempt, result: JobResult): boolean;
  /** The attempt is over: forgotten, but for its name. */
  close(jobId: string, epoch: number, closed: Closed): void;
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
  const closed = new Map<string, readonly [jobId: string, epoch: number, closed: Closed]>();
  const highest = new Map<string, number>();
  /** By their text, so that one that comes twice is kept once. */
  const aside = new Map<string, object>();

  function see(jobId: string, seen: number): void {
    if (seen > (highest.get(jobId) ?? 0)) highest.set(jobId, seen);
  }

  function forgetOldest(): void {
    for (const [key, [jobId, epoch]] of closed) {
      if (closed.size <= CLOSED_MAX) return;
      closed.delete(key);
      if (highest.get(jobId) === epoch) highest.delete(jobId);
    }
  }

  const book: Book = {
    find: (jobId, epoch) => attempts.get(keyOf(jobId, epoch)) ?? null,
    attempts: () => attempts.values(),
    ended: () => ended.values(),
    size: () => attempts.size,

    add({ jobId, epoch, order, bootId, granted, walled = null, written = null }) {
      const attempt: Attempt = {
        jobId,
        epoch,
        order,
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
      see(jobId, epoch);
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

    close(jobId, epoch, why) {
      const key = keyOf(jobId, epoch);
      const attempt = attempts.get(key);
      if (attempt !== undefined && unfinished.get(jobId) === attempt) unfinished.delete(jobId);
      attempts.delete(key);
      ended.delete(key);
      closed.delete(key);
      closed.set(key, [jobId, epoch, why]);
      see(jobId, epoch);
      forgetOldest();
    },

    closed: (jobId, epoch) => closed.get(keyOf(jobId, epoch))?.[2] ?? null,
    unfinished: (jobId) => unfinished.get(jobId) ?? null,
    highestEpoch: (jobId) => highest.get(jobId) ?? 0,

    replay(record) {
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
      const list: [string, number, string, string][] = [];
      for (const [jobId, epoch, { code, message }] of closed.values())
        list.push([jobId, epoch, code, message]);
      if (list.length > 0) yield { kind: 'closed', list };
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

export function acceptedRecord(
  { granted, walled }: Pick<Attempt, 'granted' | 'walled'>,
  order: StartOrder,
  bootId: string,
): JournalRecord {
  // Left out where there is nothing in it, so that earlier builds can read the journals of hosts without devices.
  return {
    kind: 'accepted',
    order,
    bootId,
    ...nextFields(),
    ...(granted === null ? {} : { granted: copyOf(granted) }),
    ...(walled === null
      ? {}
      : { walled: { ...walled, limits: { ...walled.limits }, isolation: { ...walled.isolation } } }),
  };
}

export function beganRecord({ jobId, epoch }: Attempt): JournalRecord {
  return { kind: 'began', jobId, epoch };
}

export function stopRecord({ jobId, epoch }: Attempt, { by, reason, fault }: Stop): JournalRecord {
  return { kind: 'stop', jobId, epoch, by, reason, ...(fault === null ? {} : { fault }) };
}

const copyOf = ({ environment, deviceNodes, nodesUnknown, cdiNames, hostCounted }: Granted) => ({
  environment: { ...environment },
  deviceNodes: [...deviceNodes],
  ...(nodesUnknown === true ? { nodesUnknown } : {}),
  ...(cdiNames === undefined ? {} : { cdiNames: cdiNames.map((names) => [...names]) }),
  ...(hostCounted === undefined ? {} : { hostCounted: [...hostCounted] }),
});

const DURABLE = Promise.resolve(true);

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
      for (const [jobId, epoch, code, message] of record.list) book.close(jobId, epoch, { code, message });
  }
}
