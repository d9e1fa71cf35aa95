// The audit records of the node, taken at the door of its job room: each order that it answered for the first time, and
// each attempt as it began and ended. An order that is sent again gets its answer again and no record; after a crash, what
// is held and stands nowhere in the tail of the log is recorded as `late`.
import type { Audit } from '../audit/audit.ts';
import type { Jobs } from '../job/job.ts';
import type { AuditFacts, AuditSink } from '../protocol/audit.ts';
import type { JobResult } from '../protocol/result.ts';

/** Answers that are remembered, so that their copies are told apart. */
const ANSWERS_MAX = 4096;

export interface JobAudit {
  /** What the door of the job room (job/order-check.ts) made of an order: written down the first time. */
  readonly noted: AuditSink;
  began(jobId: string, epoch: number, pid: number): void;
  ended(result: JobResult): void;
  /** Compares what is held with the tail of the run before; call it once, before orders come. */
  takeUp(jobs: Pick<Jobs, 'held' | 'unsettled'>): void;
}

/** `record` is that of the log, or one that bounds it. */
export function createJobAudit(audit: Pick<Audit, 'takeTail' | 'isClean'>, record: AuditSink): JobAudit {
  const answers = new Set<string>();
  /** Attempts of the run before whose beginning is written down, until they end: the journal may have lost it. */
  const begun = new Set<string>();
  const tail = [...audit.takeTail()];
  /** What the tail tells, and what was written since, until it is compared with what is held. */
  const known = new Set<string>();
  for (const { kind, facts } of tail) {
    const name = `${facts.jobId}.${facts.epoch}`;
    if (kind.startsWith('attempt.') || facts.order === 'start') known.add(`${kind} ${name}`);
    if (kind === 'attempt.started') begun.add(name);
    if (kind === 'attempt.ended') begun.delete(name);
  }
  let isCompared = false;

  function isFirst(name: string): boolean {
    if (answers.has(name)) return false;
    answers.add(name);
    const [oldest] = answers;
    if (answers.size > ANSWERS_MAX && oldest !== undefined) answers.delete(oldest);
    return true;
  }

  function ended(result: JobResult, late: AuditFacts = {}): void {
    const { jobId, epoch, state, endKind, exitCode, signal, stoppedBy } = result;
    begun.delete(`${jobId}.${epoch}`);
    if (!isCompared) known.add(`attempt.ended ${jobId}.${epoch}`);
    record('attempt.ended', { jobId, epoch, state, endKind, exitCode, signal, stoppedBy, ...late });
  }

  return {
    noted(kind, facts) {
      const { repeated, ...rest } = facts;
      const { order, jobId, epoch, code } = rest;
      if (repeated === true) return;
      // Each command beside a job is one of its own.
      if (order !== 'exec' && !isFirst(`${kind} ${order} ${jobId}.${epoch} ${code}`)) return;
      record(kind, rest);
    },
    began(jobId, epoch, pid) {
      if (begun.has(`${jobId}.${epoch}`)) return;
      record('attempt.started', { jobId, epoch, pid });
    },
    ended: (result) => ended(result),
    takeUp(jobs) {
      // Of a log that is new, or damaged, nothing is known to be missing.
      const isComparable = !audit.isClean && tail.length > 0;
      if (isComparable) {
        for (const { jobId, epoch } of jobs.held())
          if (!known.has(`order.accepted ${jobId}.${epoch}`))
            record('order.accepted', { order: 'start', jobId, epoch, late: true });
        for (const result of jobs.unsettled())
          if (!known.has(`attempt.ended ${result.jobId}.${result.epoch}`)) ended(result, { late: true });
      }
      isCompared = true;
      known.clear();
      tail.length = 0;
    },
  };
}
