// The river of orders: submission -> placement -> start order -> started -> result. Owns every change of a job's
// state. INVARIANTS:
//   an order is sent only after its epoch and node are on disk (one process tree per job and epoch);
//   a node is acknowledged only after what it told is on disk (no result is lost);
//   a final state never changes again.
// The state in the queue's memory runs ahead of the disk within one turn; what depends on the disk waits for the
// promise.
import type { Clock } from '../base/clock.ts';
import { describeError, Fault, isFault } from '../base/fault.ts';
import { createId } from '../base/id.ts';
import type { Log } from '../base/log.ts';
import type { HeldJob, JobReport, JobStarted } from '../protocol/control.ts';
import { isFinalState, type JobResult } from '../protocol/result.ts';
import type { JobSpec } from '../protocol/spec.ts';
import type { ReadSeal } from './adoption.ts';
import { demandOf } from './demand.ts';
import type { AgentSession, Fleet } from './fleet.ts';
import { createNodePauses } from './node-pauses.ts';
import { createNodeReturns } from './node-return.ts';
import type { OutputStore, OutputStream } from './output.ts';
import { cancelledUnstarted, createOwnResult, lost, type OwnEnd } from './own-result.ts';
import type { Assignment, Placement } from './placement.ts';
import type { JobChange, JobRecord, Queue } from './queue/queue.ts';
import type { RefusalLog } from './refusal-log.ts';
import { decideRefusal, decideResult, decideStarted, type Verdict } from './verdict.ts';

/** Jobs that may wait at the same time. */
export const MAX_WAITING_JOBS = 100_000;
/** How long the answer to a cancellation waits for the disk. */
export const CANCEL_STORE_MS = 1000;

export interface Refusal {
  readonly jobId: string;
  readonly epoch: number;
  readonly kind: 'start' | 'stop';
  readonly code: string;
  readonly message: string;
}

export interface Dispatcher {
  /** Resolves when the job is on disk; it may have been ordered to a node by then. */
  submit(spec: JobSpec): Promise<JobRecord>;
  /**
   * Sends the stop order at once, where there is somebody to send it to: it needs no record. Resolves when the wish
   * is on disk, or after CANCEL_STORE_MS while a full disk takes nothing. A job that has ended stays as it is.
   */
  cancel(jobId: string, by: string, reason: string): Promise<JobRecord>;
  /**
   * Compares the jobs of a node that has just been welcomed and sends what it is missing. Resolves when every
   * job that it lost is on disk as lost.
   */
  welcomed(session: AgentSession, held: readonly HeldJob[], rebooted: boolean): Promise<void>;
  /** True when the message is settled and to be acknowledged. */
  started(session: AgentSession, message: JobStarted): Promise<boolean>;
  ended(session: AgentSession, result: JobResult): Promise<boolean>;
  refused(session: AgentSession, refusal: Refusal): void;
  /** What a node tells of a job that this store has lost. */
  reported(session: AgentSession, report: JobReport): void;
  /** Ends an attempt of which no agent will tell the end; resolves when that is on disk. */
  end(job: JobRecord, end: OwnEnd): Promise<void>;
  /** How long a stream of this attempt may become; null when it was not ordered to this node. */
  outputLimit(nodeId: string, jobId: string, epoch: number, stream: OutputStream): number | null;
  /** Looks for work for every free node; for the start and when nodes come and go. */
  place(): void;
}

export interface DispatcherOptions {
  readonly queue: Queue;
  readonly placement: Placement;
  readonly fleet: Fleet;
  readonly output: OutputStore;
  readonly clock: Clock;
  readonly log: Log;
  readonly refusals: RefusalLog;
  /** By what an order of this scheduler is known again. */
  readonly readSeal: ReadSeal;
  /** A job's record has changed, on disk. */
  readonly changed: (job: JobRecord) => void;
}

/** Takes up the jobs in the queue. Call `place` when nodes may connect. */
export function createDispatcher(options: DispatcherOptions): Dispatcher {
  const { queue, placement, fleet, output, clock, log, refusals } = options;
  /** Order of submission of every job that has not ended. */
  const sequences = new Map<string, number>();
  let nextSequence = 1;
  /** Jobs whose assignment is not on disk yet: no order may be sent for them from elsewhere. */
  const assigning = new Set<string>();
  /** Changes on their way to the disk, by job: what repeats them is acknowledged only after them. */
  const storing = new Map<string, Promise<void>>();
  const pauses = createNodePauses(fleet, clock, place);

  // What is active was ahead of what waits; among the waiting, the queue knows the order.
  const active = [...queue.active()].sort((a, b) => a.submittedAtMs - b.submittedAtMs);
  for (const job of active) {
    sequences.set(job.id, nextSequence++);
    if (job.nodeId !== null) placement.hold(job.id, job.nodeId, demandOf(job.spec), job.devices);
  }
  for (const job of queue.pending()) {
    sequences.set(job.id, nextSequence++);
    wait(job);
  }
  const isAssigning = (jobId: string): boolean => assigning.has(jobId);
  const returns = createNodeReturns({
    queue,
    placement,
    fleet,
    log,
    refusals,
    isAssigning,
    readSeal: options.readSeal,
    tellOutput(session, job) {
      const told = output.syncedLengths(job.id, job.epoch).then((lengths) => {
        session.outputSynced(job.id, job.epoch, lengths);
      });
      inBackground(told, 'the output of an adopted job cannot be read');
    },
    change(jobId, fields) {
      inBackground(change(jobId, fields), 'what a node holds was not stored');
    },
    end,
  });

  function wait(job: JobRecord): void {
    placement.add({
      id: job.id,
      priority: job.spec.priority,
      sequence: sequences.get(job.id) ?? nextSequence++,
      demand: demandOf(job.spec),
    });
  }

  /** Writes a change and tells the followers when it is on disk. */
  async function change(
    jobId: string,
    fields: JobChange,
    when: 'now' | 'soon' = 'now',
  ): Promise<JobRecord | null> {
    const stored = queue.updateJob(jobId, fields, when);
    storing.set(jobId, stored);
    const job = queue.job(jobId);
    try {
      await stored;
    } finally {
      if (storing.get(jobId) === stored) storing.delete(jobId);
    }
    if (job !== null) options.changed(job);
    return job;
  }

  /** For changes that nobody outside waits for: a store that fails has said so itself. */
  function inBackground(work: Promise<unknown>, what: string): void {
    work.catch((error: unknown) => {
      const level = isFault(error, 'QUEUE_STORE_FULL') ? 'debug' : 'error';
      log[level]({ cause: describeError(error) }, what);
    });
  }

  function place(): void {
    if (queue.failure() !== null) return;
    for (const assignment of placement.decide()) inBackground(assign(assignment), 'a job was not assigned');
  }

  async function assign({ jobId, nodeId, devices }: Assignment): Promise<void> {
    const job = queue.job(jobId);
    if (job?.state !== 'PENDING') {
      placement.release(jobId);
      return;
    }
    const epoch = job.epoch + 1;
    assigning.add(jobId);
    try {
      await change(jobId, { state: 'STARTING', epoch, nodeId, devices, reason: '' });
    } catch (error) {
      placement.release(jobId);
      const back = queue.job(jobId);
      if (back?.state === 'PENDING') wait(back);
      throw error;
    } finally {
      assigning.delete(jobId);
    }
    sendStart(jobId, epoch);
  }

  /** Sends the order of an attempt that is on disk. Where the node is away, its return does it. */
  function sendStart(jobId: string, epoch: number): void {
    const job = queue.job(jobId);
    if (job?.state !== 'STARTING' || job.epoch !== epoch || job.nodeId === null) return;
    if (job.cancelBy !== null) {
      void end(job, cancelledUnstarted(job, 'before it was started'));
      return;
    }
    const session = fleet.session(job.nodeId);
    session?.order({ kind: 'start', job });
  }

  /** Waits for a change, but no longer than the answer to a client may take. */
  async function withinBound(stored: Promise<unknown>): Promise<void> {
    let release: () => void = () => {};
    const bound = new Promise<void>((resolve) => {
      release = resolve;
    });
    const timer = clock.after(queue.failure() === null ? CANCEL_STORE_MS : 0, release);
    inBackground(stored, 'a cancellation was not stored');
    await Promise.race([stored, bound]).finally(() => timer.cancel());
  }

  /** Frees what the job holds and gives it to the next. */
  function leave(jobId: string): void {
    sequences.delete(jobId);
    placement.remove(jobId);
    placement.release(jobId);
    place();
  }

  /** Ends an attempt of which no agent will tell the end. */
  function end(job: JobRecord, ownEnd: OwnEnd): Promise<void> {
    const ending = endNow(job, ownEnd);
    inBackground(ending, 'the end of a job was not stored');
    return ending;
  }

  async function endNow(job: JobRecord, ownEnd: OwnEnd): Promise<void> {
    const lengths = await output.lengths(job.id, job.epoch).catch(() => ({ stdoutBytes: 0, stderrBytes: 0 }));
    const present = queue.job(job.id);
    if (present === null || isFinalState(present.state) || present.epoch !== job.epoch) return;
    const result = createOwnResult(present, ownEnd, clock.wallMs(), lengths);
    log.info(
      { jobId: job.id, epoch: job.epoch, state: result.state, cause: result.cause },
      'job ended by the scheduler',
    );
    await finish(present, result);
  }

  async function finish(job: JobRecord, result: JobResult): Promise<void> {
    const stored = change(job.id, {
      state: result.state,
      startedAtMs: result.startedAtMs ?? job.startedAtMs,
      endedAtMs: result.endedAtMs,
      result,
      reason: '',
    });
    // In the same turn, so that the next assignment shares the commit. A change that was refused changes nothing.
    const present = queue.job(job.id);
    if (present === null || isFinalState(present.state)) leave(job.id);
    await stored;
  }

  /** Logs what is not believed; true when the agent may settle it all the same. */
  function refuse(verdict: Verdict, session: AgentSession, facts: object): boolean {
    refusals.refused(
      { nodeId: session.nodeId, verdict, ...facts },
      `what a node told about a job was refused: ${verdict}`,
    );
    return verdict === 'stale' || verdict === 'contradiction';
  }

  return {
    async submit(spec) {
      const failure = queue.failure();
      if (failure !== null) throw failure;
      if (placement.waiting >= MAX_WAITING_JOBS) {
        throw new Fault('QUEUE_FULL', `${MAX_WAITING_JOBS} jobs are waiting already`, {
          remedy: 'submit it again later',
        });
      }
      let id = createId('job');
      while (queue.job(id) !== null) id = createId('job');
      const job: JobRecord = {
        id,
        spec,
        array: null,
        state: 'PENDING',
        submittedAtMs: clock.wallMs(),
        epoch: 0,
        nodeId: null,
        devices: [],
        startedAtMs: null,
        endedAtMs: null,
        retries: 0,
        attempts: [],
        notBeforeMs: null,
        cancelBy: null,
        result: null,
        reason: '',
      };
      const stored = queue.insertJob(job);
      sequences.set(id, nextSequence++);
      wait(job);
      place();
      try {
        await stored;
      } catch (error) {
        sequences.delete(id);
        placement.remove(id);
        throw error;
      }
      return queue.job(id) ?? job;
    },

    async cancel(jobId, by, reason) {
      const job = queue.job(jobId);
      if (job === null) throw new Fault('QUEUE_JOB_UNKNOWN', `there is no job ${jobId}`);
      if (isFinalState(job.state) || job.cancelBy !== null) return job;
      if (job.state === 'PENDING') {
        const words = reason === '' ? '' : `: ${reason}`;
        const stored = change(jobId, {
          state: 'CANCELLED',
          cancelBy: by,
          endedAtMs: clock.wallMs(),
          reason: `cancelled by ${by} while it waited${words}`,
        });
        leave(jobId);
        await withinBound(stored);
        return queue.job(jobId) ?? job;
      }
      const session = job.nodeId === null || assigning.has(jobId) ? null : fleet.session(job.nodeId);
      session?.order({ kind: 'stop', job, by, reason });
      await withinBound(change(jobId, { cancelBy: by, reason }));
      return queue.job(jobId) ?? job;
    },

    welcomed: returns.welcomed,
    reported(session, report) {
      inBackground(returns.reported(session, report), 'a job that its node told of was not stored');
    },
    end,

    async started(session, message) {
      const job = queue.job(message.jobId);
      const verdict = decideStarted(job, message.epoch, session.nodeId);
      if (verdict === 'repeat') {
        await storing.get(message.jobId);
        return true;
      }
      if (verdict !== 'apply' || job === null) {
        return refuse(verdict, session, { jobId: message.jobId, epoch: message.epoch, told: 'started' });
      }
      pauses.worked(session.nodeId);
      await change(job.id, { state: 'RUNNING', startedAtMs: message.startedAtMs }, 'soon');
      return true;
    },

    async ended(session, result) {
      const job = queue.job(result.jobId);
      const verdict = decideResult(job, result, session.nodeId);
      if (verdict === 'repeat') {
        await storing.get(result.jobId);
        return true;
      }
      if (verdict !== 'apply' || job === null) {
        if (returns.over(session.nodeId, result.jobId, result.epoch)) place();
        return refuse(verdict, session, {
          jobId: result.jobId,
          epoch: result.epoch,
          told: result.state,
          has: job?.state,
        });
      }
      pauses.worked(session.nodeId);
      await finish(job, result);
      return true;
    },

    refused(session, { jobId, epoch, kind, code, message }) {
      const job = queue.job(jobId);
      if (job?.epoch !== epoch || job.nodeId !== session.nodeId) return;
      log.warn({ jobId, epoch, nodeId: session.nodeId, order: kind, code }, 'node refused an order');
      const why = `${fleet.name(session.nodeId)} refused it (${code}: ${message})`;
      switch (decideRefusal(job, kind, code)) {
        case 'ignore':
          return;
        case 'lost':
          void end(job, lost(`it was to be stopped, but ${why}`));
          return;
        case 'cancelled':
          void end(job, cancelledUnstarted(job, `before it was started (${why})`));
          return;
        case 'giveUp':
          void end(job, {
            state: 'FAILED_TO_START',
            endKind: 'refused',
            stoppedBy: null,
            cause: `${why}, attempt ${epoch}`,
          });
          break;
        case 'retry':
          inBackground(
            change(jobId, { state: 'PENDING', nodeId: null, devices: [], reason: why }),
            'a refused job was not stored',
          );
          placement.release(jobId);
          wait(queue.job(jobId) ?? job);
          break;
      }
      pauses.refused(session.nodeId);
      place();
    },

    outputLimit(nodeId, jobId, epoch, stream) {
      const job = queue.job(jobId);
      if (job?.nodeId !== nodeId || job.epoch !== epoch || job.state === 'PENDING') return null;
      if (job.result === null) return Number.MAX_SAFE_INTEGER;
      return stream === 'stdout' ? job.result.stdoutBytes : job.result.stderrBytes;
    },
    place,
  };
}
