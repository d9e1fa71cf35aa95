// The audit log of a scheduler or a node: every decision one record, in a chain that shows what was changed, removed or
// moved afterwards (chain.ts has the format, head.ts the signature, verify.ts the check). It never stops its daemon:
// where the disk takes nothing, records wait in memory and are counted.
import type { Clock, Timer } from '../base/clock.ts';
import { describeError } from '../base/fault.ts';
import { makeFolder } from '../base/folder.ts';
import type { Log } from '../base/log.ts';
import type {
  AuditFacts,
  AuditHead,
  AuditKind,
  AuditRecord,
  AuditSink,
  SignedHead,
} from '../protocol/audit.ts';
import { keyIdOf } from '../protocol/signed.ts';
import { type AuditDisk, createAuditDisk } from './disk.ts';
import type { AuditSigner } from './head.ts';
import { recoverChain } from './recovery.ts';
import { createRetention, type RetentionLimits } from './retention.ts';
import { createWriter, WAITING_MAX, type Writer } from './writer.ts';

const SEGMENT_BYTES = 16 * 1024 * 1024;
const OPEN_AGAIN_MS = 10_000;

export interface Audit {
  readonly record: AuditSink;
  /** How far the chain is on disk; null while it cannot be opened. */
  head(): AuditHead | null;
  /** The head that lies beside the chain, to be told to witnesses; null until this run has written one. */
  signedHead(): SignedHead | null;
  /** The last records of a run that did not close the log, oldest first; empty once they were asked for. */
  takeTail(): readonly AuditRecord[];
  /** The last writer closed the log, so that its tail lacks nothing. */
  readonly isClean: boolean;
  figures(): AuditFigures;
  close(): Promise<void>;
}

export interface AuditFigures {
  readonly records: number;
  /** That could not be kept. */
  readonly lost: number;
  /** The chain was found damaged when it was opened. */
  readonly isDamaged: boolean;
  /** Why nothing can be written at present, or null. */
  readonly problem: string | null;
}

export interface AuditOptions {
  /** Made where it is missing. Nobody else writes there. */
  readonly folder: string;
  /** Id of the scheduler or node. */
  readonly owner: string;
  readonly signer: AuditSigner;
  readonly version?: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly keep?: RetentionLimits;
  readonly segmentBytes?: number;
  readonly disk?: AuditDisk;
}

/** Opens the log, or goes on trying to while it is used. Never throws. */
export function openAudit(options: AuditOptions): Audit {
  const { folder, signer, clock, log } = options;
  const disk = options.disk ?? createAuditDisk(folder);
  const keyId = keyIdOf(signer.publicKey);
  let writer: Writer | null = null;
  let tail: readonly AuditRecord[] = [];
  let isClean = true;
  let isDamaged = false;
  let problem: string | null = null;
  let records = 0;
  let early: { readonly kind: AuditKind; readonly facts: AuditFacts }[] = [];
  let lostEarly = 0;
  let timer: Timer | null = null;
  let closed = false;

  function open(): void {
    timer = null;
    try {
      makeFolder(folder);
      const start = recoverChain(folder, [signer.publicKey]);
      if (start.damage !== null)
        log.error(
          { folder, damage: start.damage },
          'audit: the log is damaged; it goes on behind a marked break',
        );
      for (const { kind, facts } of start.notes)
        if (kind === 'tail.cut') log.warn({ folder, ...facts }, 'audit: an unfinished tail was cut off');
      writer = createWriter({
        owner: options.owner,
        start,
        disk,
        signer,
        retention: createRetention(folder, disk, options.keep ?? { keepMs: null, quotaBytes: null }, clock),
        segmentBytes: options.segmentBytes ?? SEGMENT_BYTES,
        clock,
        log,
      });
      ({ tail, isClean } = start);
      isDamaged = start.damage !== null;
      problem = null;
      for (const { kind, facts } of start.notes) writer.append(kind, facts);
      writer.append('opened', {
        ...(options.version === undefined ? {} : { version: options.version }),
        clean: isClean,
        afterSequence: start.sequence,
      });
      if (lostEarly > 0) writer.append('gap', { lost: lostEarly, why: 'the log could not be opened' });
      for (const { kind, facts } of early) writer.append(kind, facts);
      early = [];
    } catch (error) {
      if (problem === null)
        log.error({ folder, problem: describeError(error) }, 'audit: the log cannot be opened');
      problem = describeError(error);
      timer = clock.after(OPEN_AGAIN_MS, open);
    }
  }

  function record(kind: AuditKind, facts: AuditFacts): void {
    if (closed) return;
    try {
      records += 1;
      if (writer !== null) writer.append(kind, facts);
      else if (early.length < WAITING_MAX) early.push({ kind, facts });
      else lostEarly += 1;
    } catch (error) {
      log.error({ kind, problem: describeError(error) }, 'audit: a record was not made');
    }
  }

  open();
  return {
    record,
    head: () => (writer === null ? null : { ...writer.durable(), keyId }),
    signedHead: () => writer?.signedHead() ?? null,
    takeTail() {
      const taken = tail;
      tail = [];
      return taken;
    },
    isClean,
    figures: () => ({
      records,
      lost: lostEarly + (writer?.lost() ?? 0),
      isDamaged,
      problem: problem ?? writer?.problem() ?? null,
    }),
    async close() {
      closed = true;
      timer?.cancel();
      await writer?.close();
    },
  };
}
