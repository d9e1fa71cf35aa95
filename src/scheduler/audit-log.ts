// The scheduler's audit log: opened beside the job store, fed by it and by the parts that decide, and shown in the metrics.
import { join } from 'node:path';
import { Gauge, type Registry } from 'prom-client';
import { type AuditFigures, openAudit } from '../audit/audit.ts';
import { takeAuditSigner } from '../audit/key.ts';
import { limitAudit } from '../audit/limit.ts';
import type { RetentionLimits } from '../audit/retention.ts';
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { AuditSink, SignedHead } from '../protocol/audit.ts';
import { createAuditedQueue, recordMissing } from './audited-queue.ts';
import type { Queue } from './queue/queue.ts';

export interface SchedulerAudit {
  /** Records what the last run could not, and every decision on jobs from here on; `record` is for all others. */
  watch(store: Queue): { readonly queue: Queue; readonly record: AuditSink };
  figures(): AuditFigures;
  /** As it is told to nodes; null until there is one. */
  signedHead(): SignedHead | null;
  close(): Promise<void>;
}

/** Opens it in the scheduler's state folder. Throws SCHEDULER_KEY_EXPOSED or SCHEDULER_KEY_DAMAGED. */
export function openSchedulerAudit(parts: {
  /** The scheduler's own folder in the state directory. */
  readonly folder: string;
  readonly owner: string;
  readonly version: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly auditLimits?: RetentionLimits;
}): SchedulerAudit {
  const { folder, owner, version, clock, log } = parts;
  const audit = openAudit({
    folder: join(folder, 'audit'),
    owner,
    signer: takeAuditSigner(folder, 'SCHEDULER'),
    version,
    clock,
    log,
    ...(parts.auditLimits === undefined ? {} : { keep: parts.auditLimits }),
  });
  return {
    watch(store) {
      const tail = audit.takeTail();
      const late = audit.isClean ? 0 : recordMissing(store, tail, audit.record);
      if (late > 0) log.warn({ late }, 'audit: records that a crash had kept from the log were added');
      return { queue: createAuditedQueue(store, audit.record), record: limitAudit(audit.record, clock) };
    },
    figures: audit.figures,
    signedHead: audit.signedHead,
    close: audit.close,
  };
}

/** Gauges of the log; call what it returns with where they are read from. */
export function createAuditGauges(registers: Registry[]): (figures: () => AuditFigures) => void {
  let source: (() => AuditFigures) | null = null;
  const gauge = (name: string, help: string, read: (figures: AuditFigures) => number): void => {
    new Gauge({
      name,
      help,
      registers,
      collect() {
        if (source !== null) this.set(read(source()));
      },
    });
  };
  gauge('flopd_scheduler_audit_records', 'Records of decisions since the start.', ({ records }) => records);
  gauge(
    'flopd_scheduler_audit_lost',
    'Records that the disk did not take; the log counts them too.',
    ({ lost }) => lost,
  );
  gauge(
    'flopd_scheduler_audit_healthy',
    '1 while the audit log is whole and takes records, 0 where it was found damaged or cannot be written.',
    ({ isDamaged, problem }) => (isDamaged || problem !== null ? 0 : 1),
  );
  return (figures) => {
    source = figures;
  };
}
