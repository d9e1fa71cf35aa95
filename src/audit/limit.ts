// Bounds what strangers can make a log write: of the kinds that a stranger brings about, so many records in a period, and
// one more that counts the rest. What was decided about members is never left out.
import type { Clock } from '../base/clock.ts';
import type { AuditKind, AuditSink } from '../protocol/audit.ts';

const BOUNDED: ReadonlySet<AuditKind> = new Set([
  'access.denied',
  'order.refused',
  'policy.refused',
  'scheduler.refused',
  'node.cloned',
]);
export const RECORDS_PER_PERIOD = 200;
const PERIOD_MS = 10_000;

interface Period {
  sinceMs: number;
  records: number;
  suppressed: number;
}

export function limitAudit(record: AuditSink, clock: Pick<Clock, 'monotonicMs' | 'after'>): AuditSink {
  const periods = new Map<AuditKind, Period>();

  function end(kind: AuditKind, period: Period): void {
    if (period.suppressed > 0) record(kind, { suppressed: period.suppressed });
    period.suppressed = 0;
  }

  return (kind, facts) => {
    if (!BOUNDED.has(kind)) {
      record(kind, facts);
      return;
    }
    const nowMs = clock.monotonicMs();
    let period = periods.get(kind);
    if (period === undefined || nowMs - period.sinceMs >= PERIOD_MS) {
      if (period !== undefined) end(kind, period);
      period = { sinceMs: nowMs, records: 0, suppressed: 0 };
      periods.set(kind, period);
    }
    period.records += 1;
    if (period.records <= RECORDS_PER_PERIOD) {
      record(kind, facts);
      return;
    }
    const present = period;
    // The count is told also when nobody comes back.
    if (present.suppressed === 0) clock.after(PERIOD_MS, () => end(kind, present));
    present.suppressed += 1;
  };
}
