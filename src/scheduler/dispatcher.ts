// The river of orders: submission -> placement -> start order -> started -> result. Owns every change of a job's
// state. INVARIANTS:
//   an order is sent only after its epoch and node are on disk (one process tree per job and epoch);
//   a node is acknowledged only after what it told is on disk (no result is lost);
//   a final state never changes again.
// The state in the queue's memory runs ahead of the disk within one turn; what depends on the disk waits for the
// promise.
import type { Clock } from '../base/clock.ts';
import { describeError, isFault } from '../base/fault.ts';
import type { Log } from '../base/log.ts';
import type { RefusalLog } from '../base/refusal-log.ts';
import type { AuditFacts, AuditSink } from '../protocol/audit.ts';
import type { HeldJob, JobReport, JobStarted } from '../protocol/control.ts';
import { isFinalState, type JobResult } from '../protocol/result.ts';
import type { JobSpec } from '../protocol/spec.ts';
import type { ReadOrder } from './adoption.ts';
import { createCancellations } from './cancellation.ts';
import { createDataRules, type DataRules } from './data-rules.ts';
import { createDemands, demandOf } from './demand.ts';
import type { SchedulerHit } from './fault-points.ts';
import type { AgentSession, Fleet } from './fleet.ts';
import { createGates } from './gates.ts';
import { createJobEnds } from './job-ends.ts';
import { createNodePauses } from './node-pauses.ts';
import { createNodeReturns, type NodeReturns } from './node-return.ts';
import type { OutputStore, OutputStream } from './output.ts';
import { cancelledUnstarted, lost, type OwnEnd } from './own-result.ts';
import type { Assignment, Placement } from './placement.ts';
import type { JobChange, JobRecord, Queue } from './queue/queue.ts';
import { createSubmissions, type SubmittedBy } from './submission.ts';
import { createSubmitterRules } from './submitter-rules.ts';
import {
  concernsNode,
  decideOutputLimits,
  decideRefusal,
  decideResult,
  decideStarted,
  describeRefusal,
  isOfData,
  OF_SUBMITTER,
  type OrderRefusal,
  type Verdict,
} from './verdict.ts';

export interface Dispatcher {
  /**
   * Resolves when the job is on disk; it may have been ordered to a node by then. Of an array it is the first one.
   * Throws Fault QUEUE_FULL, JOB_DEPENDENCY_UNKNOWN or DATA_*.
   */
  submit(spec: JobSpec, by: SubmittedBy): Promise<JobRecord>;
  /**
   * Sends the stop order at once, where there is somebody to send it to: it needs no record. Resolves when the wish
   * is on disk, or after CANCEL_STORE_MS while a full disk takes nothing. A job that has ended stays as it is.
   */
  cancel(jobId: string, by: string, reason: string): Promise<JobRecord>;
  /** The same for every job of an array that has not ended. Throws Fault QUEUE_JOB_UNKNOWN. */
  cancelArray(arrayId: string, by: string, reason: string): Promise<void>;
  /** Why a PENDING job waits, one sentence. */
  waitingReason(job: JobRecord): string;
  /**
   * Compares the jobs of a node that has just been welcomed and sends what it is missing. Resolves when every
   * job that it lost is on disk as lost.
   */
  welcomed(session: AgentSession, held: readonly HeldJob[], rebooted: boolean): Promise<void>;
  /** True when the message is settled and to be acknowledged. */
  started(session: AgentSession, message: JobStarted): Promise<boolean>;
  ended(session: AgentSession, result: JobResult): Promise<boolean>;
  refused(session: AgentSession, refusal: OrderRefusal): void;
  /** What a node tells of a job that this store has lost. */
  reported(session: AgentSession, report: JobReport): void;
  /** Ends an attempt of which no agent will tell the end; resolves when that is on disk. */
  end(job: JobRecord, end: OwnEnd): Promise<void>;
  /** How long a stream of this attempt may become; null when it was not ordered to this node. */
  outputLimit(nodeId: string, jobId: string, epoch: number, stream: OutputStream): number | null;
  readonly holds: NodeReturns['holds'];
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
  readonly audit?: AuditSink;
  /** By what an order of this scheduler is known again. */
  readonly readOrder: ReadOrder;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  /** A job's record has changed, on disk. */
  readonly changed: (job: JobRecord) => void;
  /** Where the data of jobs may be; without it, as for a scheduler that stands nowhere. */
  readonly data?: DataRules;
  readonly hit?: SchedulerHit;
}

/** Takes up the jobs in the queue. Call `place` when nodes may connect. */
export function createDispatcher(options: DispatcherOptions): Dispatcher {
  const { queue, placement, fleet, output, clock, log, refusals } = options;
  const hit = options.hit ?? (() => {});
  const data = options.data ?? createDataRules({ clock });
  /** Order of submission of every job that has not ended. */
  const sequences = new Map<string, number>();
  let nextSequence = 1;
  const number = ({ id }: JobRecord) => sequences.set(id, nextSequence++);
  /** Jobs whose assignment is not on disk yet: no order may be sent for them from elsewhere. */
  const assigning = new Set<string>();
  /** Changes on their way to the disk, by job: what repeats them is acknowledged only after them. */
  const storing = new Map<string, Promise<void>>();
  const pauses = createNodePauses(fleet, clock, place);
  const submitters = createSubmitterRules(clock, () => {
    placement.review();
    place();
  });
  const demandFor = createDemands(data, submitters);

  /** Above 0: work is looked for once, when all of a change has been made. */
  let placingLater = 0;
  let placeWanted = false;
  const gates = createGates({
    queue,
    clock,
    pass: addToPlacement,
    refuse: (job, cause) =>
      inBackground(endUnstarted(job.id, 'scheduler', cause), 'the end of a job was not stored'),
    place,
  });
  const ends = createJobEnds({
    queue,
    output,
    clock,
    log,
    random: options.random,
    hit,
    change,
    left: leave,
    back(job) {
      placement.release(job.id);
      gates.wait(job);
      place();
    },
  });
  const isAssigning = (jobId: string): boolean => assigning.has(jobId);
  const returns = createNodeReturns({
    queue,
    placement,
    fleet,
    clock,
    log,
    refusals,
    isAssigning,
    readOrder: options.readOrder,
    output,
    adopted: gates.active,
    change(jobId, fields) {
      inBackground(change(jobId, fields), 'what a node holds was not stored');
      const job = queue.job(jobId);
      if (job !== null && !isFinalState(job.state) && job.state !== 'PENDING') gates.active(job);
    },
    end,
  });
  const cancellations = createCancellations({
    queue,
    fleet,
    clock,
    hit,
    isAssigning,
    change,
    endUnstarted,
    together,
    inBackground,
  });
  const submissions = createSubmissions({
    queue,
    data,
    clock,
    hit,
    come: (jobs) => jobs.forEach(number),
    taken: (jobs) =>
      together(() => {
        for (const job of jobs) gates.wait(job);
        place();
      }),
    refused: (jobs) =>
      together(() => {
        for (const job of jobs) {
          sequences.delete(job.id);
          placement.remove(job.id);
          gates.left(job);
        }
      }),
  });
  takeUp();

  function takeUp(): void {
    // What is active was ahead of what waits; among the waiting, the queue knows the order.
    const active = [...queue.active()].sort((a, b) => a.submittedAtMs - b.submittedAtMs);
    for (const job of active) {
      number(job);
      if (job.nodeId !== null) placement.hold(job.id, job.nodeId, demandOf(job.spec), job.devices);
      gates.active(job);
    }
    const pending = [...queue.pending()];
    pending.forEach(number);
    for (const job of pending) if (queue.job(job.id)?.state === 'PENDING') gates.wait(job);
  }

  function addToPlacement(job: JobRecord): void {
    placement.add({
      id: job.id,
      priority: job.spec.priority,
      sequence: sequences.get(job.id) ?? nextSequence++,
      demand: demandFor(job),
      avoid: job.attempts.at(-1)?.nodeId ?? null,
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
    placeWanted = placingLater > 0;
    if (placeWanted || queue.failure() !== null) return;
    for (const assignment of placement.decide()) inBackground(assign(assignment), 'a job was not assigned');
  }

  /** Makes many changes before work is looked for. */
  function together<T>(work: () => T): T {
    placingLater += 1;
    try {
      return work();
    } finally {
      placingLater -= 1;
      if (placingLater === 0 && placeWanted) place();
    }
  }

  async function assign({ jobId, nodeId, devices }: Assignment): Promise<void> {
    const job = queue.job(jobId);
    if (job?.state !== 'PENDING') {
      placement.release(jobId);
      return;
    }
    const epoch = job.epoch + 1;
    assigning.add(jobId);
    hit('order.decided');
    try {
      const orderedTo = fleet.session(nodeId)?.run ?? null;
      const stored = change(jobId, { state: 'STARTING', epoch, nodeId, orderedTo, devices, reason: '' });
      hit('order.asked');
      await stored;
      hit('order.stored');
    } catch (error) {
      placement.release(jobId);
      const back = queue.job(jobId);
      if (back?.state === 'PENDING') gates.wait(back);
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
    hit('order.sent');
  }

  /** Frees what the job holds and gives it to the next. */
  function leave(job: JobRecord): void {
    sequences.delete(job.id);
    placement.remove(job.id);
    placement.release(job.id);
    together(() => {
      gates.left(job);
      place();
    });
  }

  /** Ends a job that is with no node. */
  async function endUnstarted(jobId: string, by: string, reason: string): Promise<void> {
    const stored = change(jobId, { state: 'CANCELLED', cancelBy: by, endedAtMs: clock.wallMs(), reason });
    const job = queue.job(jobId);
    if (job !== null && isFinalState(job.state)) leave(job);
    await stored;
  }

  /** Ends an attempt of which no agent will tell the end. */
  function end(job: JobRecord, ownEnd: OwnEnd): Promise<void> {
    const ending = ends.end(job, ownEnd);
    inBackground(ending, 'the end of a job was not stored');
    return ending;
  }

  /** Logs what is not believed; true when the agent may settle it all the same. */
  function refuse(verdict: Verdict, session: AgentSession, facts: AuditFacts): boolean {
    refusals.refused(
      { nodeId: session.nodeId, verdict, ...facts },
      `what a node told about a job was refused: ${verdict}`,
    );
    if (verdict === 'foreign')
      options.audit?.('access.denied', { what: 'report', nodeId: session.nodeId, verdict, ...facts });
    return verdict === 'stale' || verdict === 'contradiction';
  }

  return {
    submit: submissions.submit,
    cancel: cancellations.cancel,
    cancelArray: cancellations.cancelArray,
    waitingReason: (job) => gates.reason(job) ?? placement.reason(job.id) ?? 'waiting: its turn comes next',

    welcomed(session, held, rebooted) {
      data.forget(session.nodeId);
      submitters.forget(session.nodeId);
      return returns.welcomed(session, held, rebooted);
    },
    reported(session, report) {
      inBackground(returns.reported(session, report), 'a job that its node told of was not stored');
    },
    end,
    holds: returns.holds,

    async started(session, message) {
      hit('started.received');
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
      submitters.taken(session.nodeId, job);
      await change(job.id, { state: 'RUNNING', startedAtMs: message.startedAtMs }, 'soon');
      hit('started.stored');
      return true;
    },

    async ended(session, result) {
      hit('result.received');
      const job = queue.job(result.jobId);
      const verdict = decideResult(job, result, session.nodeId);
      // What ended here before, and its node held after a restart until it knew that itself, is over there as well.
      if (verdict !== 'apply' && returns.over(session.nodeId, result.jobId, result.epoch)) place();
      if (verdict === 'repeat') {
        await storing.get(result.jobId);
        return true;
      }
      if (verdict !== 'apply' || job === null) {
        // One that was settled before the store was lost is not in its node's hello; its end may still be had.
        if (verdict === 'unknown') session.report(result.jobId, result.epoch);
        return refuse(verdict, session, {
          jobId: result.jobId,
          epoch: result.epoch,
          told: result.state,
          has: job?.state ?? null,
        });
      }
      pauses.worked(session.nodeId);
      returns.ended(session.nodeId, result);
      await ends.finish(job, result);
      return true;
    },

    refused(session, refusal) {
      const { jobId, epoch, kind, code, message } = refusal;
      const job = queue.job(jobId);
      if (job?.epoch !== epoch || job.nodeId !== session.nodeId) return;
      log.warn({ jobId, epoch, nodeId: session.nodeId, order: kind, code }, 'node refused an order');
      if (isOfData(code)) data.refused(session.nodeId, job.spec, { code, message });
      if (code === OF_SUBMITTER) submitters.refused(session.nodeId, job, message);
      if (isOfData(code) || code === OF_SUBMITTER) placement.review();
      const why = describeRefusal(job, fleet.name(session.nodeId), refusal);
      switch (decideRefusal(job, kind, code)) {
        case 'ignore':
          return;
        case 'again':
          returns.notSuperseded(session, jobId, epoch);
          return;
        case 'lost':
          void end(job, lost(why));
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
          gates.wait(queue.job(jobId) ?? job);
          break;
      }
      if (kind === 'start' && concernsNode(code)) pauses.refused(session.nodeId);
      place();
    },

    outputLimit(nodeId, jobId, epoch, stream) {
      const limits = decideOutputLimits(queue.job(jobId), epoch, nodeId);
      if (limits === null) return null;
      return stream === 'stdout' ? limits.stdoutBytes : limits.stderrBytes;
    },
    place,
  };
}
