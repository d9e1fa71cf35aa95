// Writes the chain. A record is hashed and in line at once; it is handed to the disk with all others of its turn, and
// synced with all of SYNC_MS. Nobody waits for it, and the event loop never does.
//
// What a crash may lose: of the process, what was recorded in the turn that it died in; of the machine, what came in the
// last SYNC_MS. The signed head never names more than what is on disk, the next `opened` says that the log was not closed,
// and what the job store or journal still knows is recorded then (`late`).
//
// INVARIANTS: lines are on disk in the order of their hashes. A write that failed is cut off and written again; after a
// sync that failed the segment is left at what is known to be on disk, and the rest is written to a new one. While the
// disk takes nothing, WAITING_MAX records are kept, those beyond are counted and stand in one record `gap`.
import type { Clock, Timer } from '../base/clock.ts';
import { describeError } from '../base/fault.ts';
import type { Log } from '../base/log.ts';
import type { AuditFacts, AuditKind, SignedHead } from '../protocol/audit.ts';
import { cleanFacts, encodeRecord, hashOf } from './chain.ts';
import type { AuditDisk } from './disk.ts';
import { type AuditSigner, encodeHead, type HeadBody, signHead } from './head.ts';
import type { ChainStart } from './recovery.ts';
import type { Retention } from './retention.ts';

/** Records are on disk at the latest after this time. */
const SYNC_MS = 250;
/** The head is signed and written at most this often. */
const HEAD_MS = 1000;
/** Lines of one write. */
const WRITE_LINES = 2048;
const RETRY_MIN_MS = 1000;
const RETRY_MAX_MS = 30_000;
/** Records in memory that the disk has not taken. */
export const WAITING_MAX = 65_536;

export interface ChainPosition {
  readonly sequence: number;
  readonly hash: string;
}

export interface Writer {
  append(kind: AuditKind, facts: AuditFacts): void;
  /** As far as it is on disk. */
  durable(): ChainPosition;
  /** The head as it was last written; null before that, and of an empty chain. */
  signedHead(): SignedHead | null;
  lost(): number;
  /** Why the disk takes nothing at present, or null. */
  problem(): string | null;
  /** Writes what waits, the head, and closes. Once. */
  close(): Promise<void>;
}

export interface WriterParts {
  readonly owner: string;
  readonly start: ChainStart;
  readonly disk: AuditDisk;
  readonly signer: AuditSigner;
  readonly retention: Retention;
  readonly segmentBytes: number;
  readonly clock: Clock;
  readonly log: Log;
}

interface Line extends ChainPosition {
  readonly text: string;
}

export function createWriter(parts: WriterParts): Writer {
  const { owner, start, disk, signer, retention, clock, log } = parts;
  let present: ChainPosition = { sequence: start.sequence, hash: start.hash };
  let durable: ChainPosition & { segment: number; bytes: number } = {
    ...present,
    segment: start.segment,
    bytes: start.bytes,
  };
  let first = start.first;
  let fileBytes = start.bytes;
  let waiting: Line[] = [];
  /** Written, and not synced. */
  let unsynced: Line[] = [];
  let isOpen = false;
  let isSyncFailure = false;
  let lost = 0;
  let lostInAll = 0;
  let problem: string | null = null;
  let retryMs = RETRY_MIN_MS;
  let syncedMs = Number.NEGATIVE_INFINITY;
  let headMs = Number.NEGATIVE_INFINITY;
  let headSequence = -1;
  let headFailed = false;
  let signedHead: SignedHead | null = null;
  let working: Promise<void> | null = null;
  let timer: Timer | null = null;
  let closing = false;

  function push(kind: AuditKind, facts: AuditFacts): void {
    const at = new Date(clock.wallMs()).toISOString();
    const sequence = present.sequence + 1;
    const text = encodeRecord({ sequence, at, kind, facts: cleanFacts(facts), previous: present.hash });
    present = { sequence, hash: hashOf(text) };
    waiting.push({ ...present, text });
  }

  function append(kind: AuditKind, facts: AuditFacts): void {
    if (waiting.length + unsynced.length >= WAITING_MAX) {
      lost += 1;
      lostInAll += 1;
      return;
    }
    tellLost();
    push(kind, facts);
    if (problem === null) startWork();
  }

  function tellLost(): void {
    if (lost === 0) return;
    push('gap', { lost, why: problem ?? 'the disk was too slow' });
    lost = 0;
  }

  function startWork(): void {
    timer?.cancel();
    timer = null;
    // From the end of this turn, so that everything that happens in it shares the write.
    working ??= Promise.resolve()
      .then(work)
      .finally(() => {
        working = null;
        if (problem === null && waiting.length > 0 && !closing) startWork();
      });
  }

  async function work(): Promise<void> {
    try {
      if (!isOpen) await mend();
      while (waiting.length > 0) {
        if (fileBytes >= parts.segmentBytes) await rotate();
        await write();
        await syncWhenDue();
      }
      await syncWhenDue();
      if (problem !== null) settled();
    } catch (error) {
      fail(error);
      return;
    }
    later();
  }

  async function syncWhenDue(): Promise<void> {
    const isLast = closing && waiting.length === 0;
    if (isLast || clock.monotonicMs() - syncedMs >= SYNC_MS) await sync();
    if (isLast || clock.monotonicMs() - headMs >= HEAD_MS) await writeHead();
  }

  /** Opens the segment at what is known to be on disk; a new one where a sync has failed. */
  async function mend(): Promise<void> {
    if (headSequence < 0 && start.sequence === 0 && start.damage === null) await writeHead();
    if (isSyncFailure && durable.bytes > 0) {
      await disk.open(durable.segment, durable.bytes);
      durable = { ...durable, segment: durable.segment + 1, bytes: 0 };
    }
    await disk.open(durable.segment, durable.bytes);
    fileBytes = durable.bytes;
    isOpen = true;
    isSyncFailure = false;
  }

  /** What fits into the segment, or a part of it: a piece that does not hold up the event loop. */
  async function write(): Promise<void> {
    let text = '';
    let count = 0;
    for (const line of waiting) {
      if (count > 0 && (count === WRITE_LINES || fileBytes + text.length >= parts.segmentBytes)) break;
      text += `${line.text}\n`;
      unsynced.push(line);
      count += 1;
    }
    waiting = waiting.slice(count);
    const bytes = Buffer.from(text);
    await disk.append(bytes);
    fileBytes += bytes.length;
  }

  async function sync(): Promise<void> {
    const last = unsynced.at(-1);
    if (last === undefined) return;
    const reached = { sequence: last.sequence, hash: last.hash, segment: durable.segment, bytes: fileBytes };
    try {
      await disk.sync();
    } catch (error) {
      isSyncFailure = true;
      throw error;
    }
    durable = reached;
    unsynced = [];
    syncedMs = clock.monotonicMs();
    if (problem !== null) settled();
  }

  async function rotate(): Promise<void> {
    await sync();
    await disk.open(durable.segment + 1, 0);
    durable = { ...durable, segment: durable.segment + 1, bytes: 0 };
    fileBytes = 0;
    await removeOld().catch((error: unknown) =>
      log.warn({ problem: describeError(error) }, 'audit: old segments were not removed'),
    );
  }

  async function removeOld(): Promise<void> {
    const removal = await retention.decide(durable.segment, first);
    if (removal === null) return;
    first = removal.first;
    // The anchor first: a crash in between leaves more than is kept, not less.
    await writeHead();
    if (headFailed) return;
    for (const number of removal.segments) await disk.remove(number);
    const [from] = removal.segments;
    append('segments.removed', {
      from: from ?? null,
      to: removal.segments.at(-1) ?? null,
      keptFrom: first.sequence,
    });
  }

  /** The next sync or head that is due. */
  function later(): void {
    if (closing || problem !== null || waiting.length > 0) return;
    const nowMs = clock.monotonicMs();
    const due: number[] = [];
    if (unsynced.length > 0) due.push(syncedMs + SYNC_MS - nowMs);
    else if (headSequence !== durable.sequence)
      due.push((headFailed ? RETRY_MAX_MS : HEAD_MS) + headMs - nowMs);
    if (due.length > 0) timer = clock.after(Math.max(1, Math.min(...due)), startWork);
  }

  async function writeHead(): Promise<void> {
    headMs = clock.monotonicMs();
    if (headSequence === durable.sequence && first === start.first) return;
    const { sequence, hash, segment } = durable;
    const body: HeadBody = {
      version: 1,
      owner,
      at: new Date(clock.wallMs()).toISOString(),
      sequence,
      hash,
      segment,
      first,
    };
    try {
      const signed = signHead(body, signer);
      await disk.writeHead(encodeHead(signed));
      if (sequence > 0) signedHead = signed;
      headSequence = sequence;
      headFailed = false;
    } catch (error) {
      if (!headFailed)
        log.error({ problem: describeError(error) }, 'audit: the head of the log cannot be written');
      headFailed = true;
    }
  }

  function fail(error: unknown): void {
    if (problem === null)
      log.error(
        { problem: describeError(error) },
        `audit: records cannot be written; up to ${WAITING_MAX} are kept in memory until they can`,
      );
    problem = describeError(error);
    isOpen = false;
    waiting = unsynced.concat(waiting);
    unsynced = [];
    if (closing) return;
    timer = clock.after(retryMs, startWork);
    retryMs = Math.min(RETRY_MAX_MS, retryMs * 2);
  }

  function settled(): void {
    log.info({ lost }, 'audit: records can be written again');
    tellLost();
    problem = null;
    retryMs = RETRY_MIN_MS;
  }

  return {
    append,
    durable: () => ({ sequence: durable.sequence, hash: durable.hash }),
    signedHead: () => signedHead,
    lost: () => lostInAll,
    problem: () => problem,
    async close() {
      closing = true;
      timer?.cancel();
      while (working !== null) await working;
      tellLost();
      push('closed', {});
      await work();
      if (problem !== null || waiting.length > 0)
        log.error({ waiting: waiting.length, lost, problem }, 'audit: records were lost at the end');
      await disk.close().catch(() => {});
    },
  };
}
