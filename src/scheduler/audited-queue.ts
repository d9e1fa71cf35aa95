// The audit records of jobs, taken where a decision becomes one: when the change is on disk. Each change of a job's record
// stands for at most one decision of each kind, so the log and the store cannot tell two stories:
//
//   job.submitted   the job, or the array as a whole, was taken in
//   job.adopted     it was taken in again from what its node told, or moved to a later attempt that a node holds
//   job.ordered     an attempt was given to a node: it may start from now on
//   job.cancelled   somebody wishes its end
//   job.ended       an attempt has ended, or the job without one; `final` when the job is over with it
//
// After a start that follows a crash, what the store knows and the tail of the log lacks is recorded as `late`.
import type { AuditFacts, AuditKind, AuditRecord, AuditSink } from '../protocol/audit.ts';
import { isFinalState, type JobState } from '../protocol/result.ts';
import type { JobRecord, Queue } from './queue/queue.ts';

/** Ended jobs of each state that are looked at after a crash, newest first. */
const LOOKED_AT = 10_000;
/** Nothing before the tail of the log is looked at; its first record may be a little later than what it tells. */
const MARGIN_MS = 2000;
const IDS_CHARACTERS = 200;

interface Decision {
  readonly kind: AuditKind;
  readonly facts: AuditFacts;
}

/** The same queue, with a record for every decision about a job that is on disk. */
export function createAuditedQueue(queue: Queue, audit: AuditSink): Queue {
  function after(stored: Promise<void>, decisions: readonly Decision[]): Promise<void> {
    if (decisions.length > 0)
      stored.then(
        () => {
          for (const { kind, facts } of decisions) audit(kind, facts);
        },
        () => {},
      );
    return stored;
  }
  return {
    ...queue,
    insertJob: (job) => after(queue.insertJob(job), [job.epoch === 0 ? submitted(job, 1) : adopted(job)]),
    insertArray(jobs) {
      const [first] = jobs;
      return after(queue.insertArray(jobs), first === undefined ? [] : [submitted(first, jobs.length)]);
    },
    updateJob(id, change, when) {
      const before = queue.job(id);
      const stored = queue.updateJob(id, change, when);
      const present = queue.job(id);
      return before === null || present === null ? stored : after(stored, decisionsOf(before, present));
    },
  };
}

/** What a change of a job's record decided. Pure. */
function decisionsOf(before: JobRecord, present: JobRecord): Decision[] {
  const decisions: Decision[] = [];
  if (before.cancelBy === null && present.cancelBy !== null) decisions.push(cancelled(present));
  if (present.epoch > before.epoch) {
    const isOwn =
      before.state === 'PENDING' && present.state === 'STARTING' && present.epoch === before.epoch + 1;
    decisions.push(isOwn ? ordered(present) : adopted(present));
  }
  if (isFinalState(present.state) && !isFinalState(before.state)) decisions.push(ended(present));
  else if (present.state === 'PENDING' && before.state !== 'PENDING')
    decisions.push(returned(before, present));
  return decisions;
}

function submitted(job: JobRecord, jobs: number): Decision {
  const { id, array, owner } = job;
  return { kind: 'job.submitted', facts: { jobId: id, arrayId: array?.id ?? null, jobs, by: owner } };
}

function adopted({ id, epoch, nodeId, state }: JobRecord): Decision {
  return { kind: 'job.adopted', facts: { jobId: id, epoch, nodeId, state } };
}

function ordered({ id, epoch, nodeId, devices }: JobRecord): Decision {
  const ids = devices.join(',').slice(0, IDS_CHARACTERS);
  return { kind: 'job.ordered', facts: { jobId: id, epoch, nodeId, devices: ids } };
}

function cancelled({ id, epoch, cancelBy }: JobRecord): Decision {
  return { kind: 'job.cancelled', facts: { jobId: id, epoch, by: cancelBy } };
}

function ended(job: JobRecord): Decision {
  const { id, epoch, nodeId, state, result } = job;
  const isOfAttempt = result !== null && result.epoch === epoch;
  return {
    kind: 'job.ended',
    facts: {
      jobId: id,
      epoch,
      nodeId: isOfAttempt ? nodeId : null,
      state,
      endKind: result?.endKind ?? null,
      exitCode: result?.exitCode ?? null,
      signal: result?.signal ?? null,
      stoppedBy: result?.stoppedBy ?? null,
      final: true,
    },
  };
}

/** The attempt is over and the job waits again: it ended and is to be retried, or its node refused it. */
function returned(before: JobRecord, present: JobRecord): Decision {
  const past = present.attempts.find((attempt) => attempt.epoch === before.epoch) ?? null;
  const { id, epoch, nodeId } = before;
  return {
    kind: 'job.ended',
    facts: {
      jobId: id,
      epoch,
      nodeId,
      state: past?.state ?? ('REFUSED' as JobState | 'REFUSED'),
      endKind: past?.endKind ?? 'refused',
      exitCode: past?.exitCode ?? null,
      signal: past?.signal ?? null,
      stoppedBy: null,
      final: false,
    },
  };
}

/** Records what a crash kept from the log: what the store has from its last time on, and its tail has not. */
export function recordMissing(queue: Queue, tail: readonly AuditRecord[], audit: AuditSink): number {
  const [first] = tail;
  if (first === undefined) return 0;
  const sinceMs = Date.parse(first.at) + MARGIN_MS;
  const known = new Set(tail.map(({ kind, facts }) => nameOf(kind, facts)));
  let count = 0;
  const arrays = new Set<string>();
  for (const job of recentJobs(queue, sinceMs)) {
    for (const { kind, facts } of expectedOf(job, sinceMs)) {
      if (known.has(nameOf(kind, facts))) continue;
      if (kind === 'job.submitted' && job.array !== null && arrays.has(job.array.id)) continue;
      if (kind === 'job.submitted' && job.array !== null) arrays.add(job.array.id);
      audit(kind, { ...facts, late: true });
      count += 1;
    }
  }
  return count;
}

/** By what two records are the same decision. */
function nameOf(kind: string, facts: AuditFacts): string {
  if (kind === 'job.submitted') return `${kind} ${facts.arrayId ?? facts.jobId}`;
  if (kind === 'job.cancelled') return `${kind} ${facts.jobId}`;
  // Taken over or ordered: either way the attempt is written down.
  const what = kind === 'job.adopted' ? 'job.ordered' : kind;
  return `${what} ${facts.jobId} ${facts.epoch} ${kind === 'job.ended' ? facts.final : ''}`;
}

function expectedOf(job: JobRecord, sinceMs: number): Decision[] {
  const { submittedAtMs, startedAtMs, endedAtMs, epoch, state, attempts } = job;
  const decisions: Decision[] = [];
  const isNew = submittedAtMs >= sinceMs;
  if (isNew) decisions.push(submitted(job, job.array?.size ?? 1));
  for (const past of attempts)
    if ((past.endedAtMs ?? 0) >= sinceMs)
      decisions.push(returned({ ...job, epoch: past.epoch, nodeId: past.nodeId }, job));
  const isActive = state === 'STARTING' || state === 'RUNNING';
  const isOrdered = isActive || (job.result !== null && job.result.epoch === epoch);
  if (isOrdered && (isNew || state === 'STARTING' || (startedAtMs ?? endedAtMs ?? 0) >= sinceMs))
    decisions.push(ordered(job));
  if (job.cancelBy !== null && (isNew || (isActive && attempts.length === 0))) decisions.push(cancelled(job));
  if (isFinalState(state) && (endedAtMs ?? 0) >= sinceMs) decisions.push(ended(job));
  return decisions;
}

function* recentJobs(queue: Queue, sinceMs: number): Iterable<JobRecord> {
  yield* [...queue.active()];
  for (const job of [...queue.pending()])
    if (job.submittedAtMs >= sinceMs || job.attempts.length > 0) yield job;
  for (const state of Object.keys(queue.counts()) as JobState[]) {
    if (!isFinalState(state)) continue;
    for (const job of queue.jobs({ state, limit: LOOKED_AT })) if ((job.endedAtMs ?? 0) >= sinceMs) yield job;
  }
}
