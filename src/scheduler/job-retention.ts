// How long ended jobs are kept: from their end for a stated time, and no more than a stated number, of which those that
// were submitted first go first. With a job goes all that is known of it: attempts, result, specification, what its
// submitter signed, output and the notes in its place. The jobs of an array go together, when all of them are due.
//
// INVARIANT: a job stays as long as it has not ended; a waiting job was submitted to wait for it; or a node may still
// have an attempt of it and bring that back as a job that runs, or one with another end: an attempt before the last one
// whose node is away, a last one that the scheduler gave up while its node is away, or any that a connected node said it
// had and that it may have still. A result that a node brings back for a second time is taken in again as it was.
//
// Output that a node has not sent yet is waited for (OUTPUT_WAIT_MS).
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { nextTurn } from '../base/turns.ts';
import type { AuditSink } from '../protocol/audit.ts';
import { finalStates, type JobResult } from '../protocol/result.ts';
import type { Fleet } from './fleet.ts';
import type { OutputStore } from './output.ts';
import type { AttemptEnd, EndedJob, PastAttempt, Queue } from './queue/queue.ts';
import { createSweeps, type Sweeps } from './sweeps.ts';

/** How often the number of ended jobs is looked at. */
export const COUNT_PERIOD_MS = 10_000;
/** After a sweep that left too many, because all the others are needed: each one reads all of them. */
export const LEFT_OVER_PERIOD_MS = 300_000;
/** What was told of attempts before the last one has been answered by then, also over a link that was dead. */
const ANSWERED_MS = 600_000;
/** A node that was away for a while has time to send the rest of the output. */
export const OUTPUT_WAIT_MS = 2 * 24 * 3600_000;
/** Jobs that are read, and taken out, in one turn: some milliseconds. An array goes whole, however many it has. */
export const PAGE_JOBS = 64;

/** The note in the place of output whose job goes as well. */
const WITH_JOB = 'removed with its job';

export type RemovalReason = 'age' | 'number';

export interface JobLimits {
  /** From the end of the job. */
  readonly keepMs: number;
  /** Ended jobs that are kept. */
  readonly jobs: number;
}

export interface JobRetentionOptions extends JobLimits {
  readonly queue: Pick<
    Queue,
    'job' | 'endedJobs' | 'removeJobs' | 'isAwaited' | 'array' | 'counts' | 'node' | 'failure'
  >;
  readonly output: Pick<OutputStore, 'lengths' | 'syncedLengths' | 'remove' | 'removal' | 'notes' | 'forget'>;
  readonly fleet: Pick<Fleet, 'isReachable'>;
  /** Whether a node that is connected still has the attempt (node-return.ts). */
  readonly holds: (nodeId: string, jobId: string, epoch: number) => boolean;
  readonly clock: Clock;
  readonly log: Log;
  readonly audit: AuditSink;
  /** Told how many jobs are gone from the disk. */
  readonly removed: (jobs: number, why: RemovalReason) => void;
}

/** What is remembered of jobs until they go. */
interface Due extends Pick<EndedJob, 'id' | 'array' | 'state' | 'sequence' | 'epoch'> {
  readonly why: RemovalReason;
  /** Bytes of output that there must be, by attempt. */
  readonly awaited: ReadonlyMap<number, number>;
}

/** Begins to look after them; the first sweep comes soon after the start. */
export function createJobRetention(options: JobRetentionOptions): Sweeps {
  const { queue, output, keepMs, clock, log } = options;
  let isLeftOver = false;
  let hasTidied = false;
  const sweeps = createSweeps({
    keepMs,
    lookMs: COUNT_PERIOD_MS,
    isTooMuch: (sinceMs) => (!isLeftOver || sinceMs >= LEFT_OVER_PERIOD_MS) && excess() > 0,
    once: sweepOnce,
    problem: 'ended jobs cannot be removed',
    clock,
    log,
  });

  function excess(): number {
    const counts = queue.counts();
    return finalStates.reduce((sum, state) => sum + counts[state], 0) - options.jobs;
  }

  async function sweepOnce(): Promise<void> {
    const gone: Record<RemovalReason, number> = { age: 0, number: 0 };
    if (!hasTidied) await dropLeftNotes().catch(sweeps.failed);
    hasTidied = true;
    try {
      if (queue.failure() === null) await removeDue(gone);
    } finally {
      isLeftOver = excess() > 0;
      tell(gone);
    }
  }

  /** Of jobs that went in the moment of a crash: nobody else would ever look at them. */
  async function dropLeftNotes(): Promise<void> {
    for (const [at, { jobId, epoch }] of (await output.notes()).entries()) {
      if (at % PAGE_JOBS === PAGE_JOBS - 1) await nextTurn();
      if (sweeps.isClosed()) return;
      if (queue.job(jobId) === null && (await output.removal(jobId, epoch)) === WITH_JOB)
        await output.forget(jobId, epoch);
    }
  }

  async function removeDue(gone: Record<RemovalReason, number>): Promise<void> {
    const dueMs = clock.wallMs() - keepMs;
    const arrays = createArrays();
    for (let after = 0; !sweeps.isClosed(); await nextTurn()) {
      const page = queue.endedJobs(after, PAGE_JOBS);
      const last = page.at(-1);
      const tooMany = excess();
      // None of those that were submitted later can have ended earlier than this.
      if (last === undefined || (tooMany <= 0 && page.every((job) => job.submittedAtMs > dueMs))) break;
      after = last.sequence;
      let left = tooMany;
      const due: Due[] = [];
      for (const job of page) {
        const isOld = endOf(job) <= dueMs;
        const isDue = (isOld || left > 0) && !isNeeded(job);
        const together = isDue ? arrays.add(job, isOld ? 'age' : 'number') : arrays.keep(job);
        left -= together.length;
        due.push(...together);
      }
      for (const why of await remove(due)) gone[why] += 1;
    }
  }

  /** The jobs of an array are together when its last one is due as well. */
  function createArrays() {
    /** Those due so far; null for an array that stays. */
    const arrays = new Map<string, Due[] | null>();
    return {
      keep({ array }: EndedJob): Due[] {
        if (array !== null) arrays.set(array.id, null);
        return [];
      },
      /** What is due with it. */
      add(ended: EndedJob, why: RemovalReason): Due[] {
        const { id, array, state, sequence, epoch } = ended;
        const job: Due = { id, array, state, sequence, epoch, why, awaited: awaitedOutput(ended) };
        if (array === null) return [job];
        const known = arrays.get(array.id);
        const members = known === undefined ? begin(array.id) : known;
        arrays.set(array.id, members);
        if (members === null) return [];
        members.push(job);
        if (members.length < (queue.array(array.id)?.size ?? 0)) return [];
        arrays.delete(array.id);
        return members;
      },
    };
    function begin(id: string): Due[] | null {
      const tally = queue.array(id);
      const ended = finalStates.reduce((sum, state) => sum + (tally?.count(state) ?? 0), 0);
      return tally === null || ended < tally.size || queue.isAwaited(id) ? null : [];
    }
  }

  function isNeeded(job: EndedJob): boolean {
    const { id, attempts } = job;
    if (queue.isAwaited(id)) return true;
    if (attempts.length > 0 && endOf(job) + ANSWERED_MS > clock.wallMs()) return true;
    const last = lastAttempt(job);
    if (last !== null && mayBeHeld(id, last, !isToldByNode(last))) return true;
    return attempts.some((past) => mayBeHeld(id, past, true));
  }

  function isMember(nodeId: string): boolean {
    const node = queue.node(nodeId);
    return node !== null && node.removedAtMs === undefined;
  }

  function mayBeHeld(id: string, { nodeId, epoch }: AttemptEnd, whileAway: boolean): boolean {
    if (!isMember(nodeId)) return false;
    return options.holds(nodeId, id, epoch) || (whileAway && !options.fleet.isReachable(nodeId));
  }

  function awaitedOutput(job: EndedJob): ReadonlyMap<number, number> {
    if (endOf(job) + OUTPUT_WAIT_MS <= clock.wallMs()) return new Map();
    const last = lastAttempt(job);
    const ends = [...job.attempts, ...(last === null ? [] : [last])].filter(({ nodeId }) => isMember(nodeId));
    return new Map(ends.map(({ epoch, stdoutBytes, stderrBytes }) => [epoch, stdoutBytes + stderrBytes]));
  }

  /** Output goes first: what nobody knows the job of would lie there for ever. */
  async function remove(due: readonly Due[]): Promise<readonly RemovalReason[]> {
    const kept = new Set<string>();
    for (const [at, job] of due.entries()) {
      if (at % PAGE_JOBS === PAGE_JOBS - 1) await nextTurn();
      const isGone = await removeOutput(job).catch(sweeps.failed);
      if (!isGone) kept.add(job.array?.id ?? job.id);
    }
    const ready = due.filter(({ id, array }) => !kept.has(array?.id ?? id));
    if (sweeps.isClosed() || ready.length === 0 || queue.failure() !== null) return [];
    const ids = new Set(await queue.removeJobs(ready));
    for (const [at, { id, epoch }] of ready.entries()) {
      if (at % PAGE_JOBS === PAGE_JOBS - 1) await nextTurn();
      for (let one = 1; one <= epoch && ids.has(id); one += 1) await output.forget(id, one);
    }
    return ready.filter(({ id }) => ids.has(id)).map(({ why }) => why);
  }

  /** False while something is under way with it. */
  async function removeOutput({ id, epoch, awaited }: Due): Promise<boolean> {
    for (const [one, bytes] of awaited) {
      const { stdoutBytes, stderrBytes } = await output.syncedLengths(id, one);
      if (stdoutBytes + stderrBytes < bytes) return false;
    }
    for (let one = 1; one <= epoch; one += 1) {
      const { stdoutBytes, stderrBytes } = await output.lengths(id, one);
      if (stdoutBytes + stderrBytes === 0) continue;
      if (!(await output.remove(id, one, WITH_JOB))) return false;
    }
    return true;
  }

  function tell(gone: Readonly<Record<RemovalReason, number>>): void {
    if (gone.age + gone.number === 0) return;
    for (const why of ['age', 'number'] as const) if (gone[why] > 0) options.removed(gone[why], why);
    options.audit('jobs.removed', { jobs: gone.age + gone.number, forAge: gone.age, forNumber: gone.number });
    log.info({ ...gone, keepMs, most: options.jobs }, 'removed ended jobs that are not kept any more');
  }

  return sweeps;
}

function lastAttempt({ result, epoch, nodeId }: EndedJob): PastAttempt | null {
  return result !== null && result.epoch === epoch && nodeId !== null ? { ...result, nodeId } : null;
}

/** The clock of its node tells when a job ended, and may be wrong by years: not before it was submitted here. */
export function endOf({ submittedAtMs, endedAtMs }: Pick<EndedJob, 'submittedAtMs' | 'endedAtMs'>): number {
  return Math.max(submittedAtMs, endedAtMs ?? 0);
}

/** Ends that the scheduler writes by itself have one of these kinds, and nobody measured anything. */
const ownKinds: ReadonlySet<JobResult['endKind']> = new Set(['lost', 'stopped', 'disconnected']);

function isToldByNode({ endKind, usage }: Pick<PastAttempt, 'endKind' | 'usage'>): boolean {
  return !ownKinds.has(endKind) || (usage?.durationMs ?? null) !== null;
}
