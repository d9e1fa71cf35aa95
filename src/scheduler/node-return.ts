// What happens when a node comes back: its jobs are compared with what is on disk (reconcile.ts decides), what it is
// missing is sent, and what it says it holds counts, also where nobody here knows the job: a device with a job on it
// is not given to another.
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { RefusalLog } from '../base/refusal-log.ts';
import type { HeldJob, JobReport } from '../protocol/control.ts';
import { isFinalState, type JobResult } from '../protocol/result.ts';
import { adoptedJob, type ReadOrder } from './adoption.ts';
import { type Demand, demandOf } from './demand.ts';
import type { AgentSession, Fleet } from './fleet.ts';
import type { OutputStore } from './output.ts';
import { cancelledUnstarted, lost, type OwnEnd } from './own-result.ts';
import type { Placement } from './placement.ts';
import type { JobChange, JobRecord, Queue } from './queue/queue.ts';
import { decideHeld, decideReturn, isGivenUp } from './reconcile.ts';

export interface NodeReturns {
  /** Resolves when every job that the node lost is on disk as lost. */
  welcomed(session: AgentSession, held: readonly HeldJob[], rebooted: boolean): Promise<void>;
  /** What a node knows of a job that this store has lost: it is taken in again. Resolves when that is on disk. */
  reported(session: AgentSession, report: JobReport): Promise<void>;
  /** The node did not let in what was to supersede an order: it is asked again in a while, if it is still there. */
  notSuperseded(session: AgentSession, jobId: string, epoch: number): void;
  /** An attempt that is not active here has ended on its node. True when that freed something. */
  over(nodeId: string, jobId: string, epoch: number): boolean;
  /** An active attempt has ended on its node: told late, its job may not be kept for long. */
  ended(nodeId: string, result: Pick<JobResult, 'jobId' | 'epoch' | 'endedAtMs'>): void;
  /** Whether the node said, when it came, that it has this attempt, which is not active here, and may have it still. */
  holds(nodeId: string, jobId: string, epoch: number): boolean;
}

export interface NodeReturnParts {
  readonly queue: Queue;
  readonly placement: Placement;
  readonly fleet: Fleet;
  readonly clock: Pick<Clock, 'after' | 'monotonicMs' | 'wallMs'>;
  readonly log: Log;
  readonly refusals: RefusalLog;
  /** The job's assignment is not on disk yet. */
  isAssigning(jobId: string): boolean;
  change(jobId: string, fields: JobChange): void;
  /** By what an order of this scheduler is known again. */
  readonly readOrder: ReadOrder;
  readonly output: Pick<OutputStore, 'syncedLengths'>;
  /** A job that has not ended was taken in again. */
  adopted(job: JobRecord): void;
  end(job: JobRecord, end: OwnEnd): Promise<void>;
}

/** Until clocks or keys that differ are brought into line. */
const SUPERSEDE_AGAIN_MS = 5000;
/** Reports that one node is asked for at the same time: each may be as long as a frame. */
export const REPORTS_AT_ONCE = 32;
/** An end that is told later than this after it came to pass was not told at once. */
const LATE_MS = 10_000;
/** After so long the answer to what a node has told has come, and is written down there. */
export const TOLD_MS = 3600_000;

interface Questions {
  readonly session: AgentSession;
  readonly waiting: HeldJob[];
  asked: number;
}

/** Of an attempt that is unknown here nothing is counted but its devices. */
const devicesOnly: Demand = { cpuHundredths: 0, memoryBytes: 0, accelerators: null, executor: '' };

export function createNodeReturns(parts: NodeReturnParts): NodeReturns {
  const { queue, placement, fleet, clock, log, refusals } = parts;
  /** Attempts (`job.epoch`) that a node holds and that are not active here, by node. */
  const strangers = new Map<string, Set<string>>();
  /** Of these, those of which it has told the end since, and when: it may not have got the answer. */
  const told = new Map<string, Map<string, number>>();
  /** What nodes are still to be asked about jobs that are unknown here. */
  const questions = new Map<string, Questions>();

  function ask(nodeId: string): void {
    const open = questions.get(nodeId);
    while (open !== undefined && open.asked < REPORTS_AT_ONCE) {
      const next = open.waiting.shift();
      if (next === undefined) return;
      open.asked += 1;
      open.session.report(next.jobId, next.epoch);
    }
  }

  function forgetStrangers(nodeId: string): void {
    for (const name of strangers.get(nodeId) ?? []) placement.release(name);
    strangers.delete(nodeId);
    told.delete(nodeId);
  }

  function tellsEnd(nodeId: string, name: string): void {
    const nowMs = clock.monotonicMs();
    const names = told.get(nodeId) ?? new Map<string, number>();
    // Oldest first.
    for (const [one, atMs] of names) {
      if (nowMs - atMs < TOLD_MS) break;
      names.delete(one);
    }
    names.delete(name);
    told.set(nodeId, names.set(name, nowMs));
  }

  function holdStranger(nodeId: string, { jobId, epoch, phase, devices }: HeldJob): void {
    const name = `${jobId}.${epoch}`;
    const ofNode = strangers.get(nodeId) ?? new Set();
    strangers.set(nodeId, ofNode.add(name));
    if (phase === 'ended' || devices === null || devices.length === 0) return;
    placement.hold(name, nodeId, devicesOnly, devices);
  }

  /** The node's word on what an attempt holds is the truth: the store may be a copy from before. */
  function believe(job: JobRecord, { phase, devices }: HeldJob, nodeId: string): void {
    if (phase === 'ended' || devices === null || isSame(devices, job.devices)) return;
    log.warn(
      { jobId: job.id, epoch: job.epoch, nodeId, devices },
      'a job holds other devices than the store knew',
    );
    placement.release(job.id);
    placement.hold(job.id, nodeId, demandOf(job.spec), devices);
    parts.change(job.id, { devices });
  }

  async function compare(
    session: AgentSession,
    job: JobRecord,
    held: HeldJob | null,
    rebooted: boolean,
  ): Promise<void> {
    if (parts.isAssigning(job.id)) return;
    if (held !== null) believe(job, held, session.nodeId);
    const { nodeId, run } = session;
    const decision = decideReturn(job, held, { nodeName: fleet.name(nodeId), rebooted, run });
    switch (decision.kind) {
      case 'keep':
        return;
      case 'resend':
        session.order({ kind: 'start', job });
        return;
      case 'supersede':
        supersede(session, job);
        return;
      case 'stop':
        session.order({ kind: 'stop', job, by: job.cancelBy ?? 'scheduler', reason: job.reason });
        return;
      case 'cancelled':
        await parts.end(job, cancelledUnstarted(job, 'before the node took it'));
        return;
      case 'lost':
        await parts.end(job, lost(decision.cause));
        return;
    }
  }

  /**
   * The refusal of this stop is the node's word that it never held the attempt, and that it will not start it: what becomes
   * of the job then, `decideRefusal` says. Where it did hold it, its result tells.
   */
  function supersede(session: AgentSession, job: JobRecord): void {
    const { id: jobId, epoch } = job;
    log.info({ jobId, epoch, nodeId: session.nodeId }, 'an order for another run of the agent is superseded');
    const reason = 'it was ordered to another run of this agent, and is ordered anew';
    session.order({ kind: 'stop', job, by: 'scheduler', reason });
  }

  /** Takes over a job that runs at a later epoch than this store knows. */
  function adopt(job: JobRecord, held: HeldJob, nodeId: string): void {
    log.warn(
      { jobId: job.id, epoch: held.epoch, nodeId },
      'adopted a job that the store did not know to be ordered',
    );
    const devices = held.devices ?? [];
    placement.remove(job.id);
    placement.release(job.id);
    placement.hold(job.id, nodeId, demandOf(job.spec), devices);
    parts.change(job.id, {
      state: held.phase === 'accepted' ? 'STARTING' : 'RUNNING',
      epoch: held.epoch,
      nodeId,
      devices,
      startedAtMs: null,
      reason: '',
    });
  }

  /** It must not do anything any more that somebody could take for the job. */
  function stopGivenUp(session: AgentSession, job: JobRecord, epoch: number): void {
    const why = epoch < job.epoch ? `attempt ${job.epoch} was ordered since` : 'this attempt was given up';
    session.order({ kind: 'stop', job: { ...job, epoch }, by: 'scheduler', reason: why });
  }

  return {
    async welcomed(session, held, rebooted) {
      const { nodeId } = session;
      forgetStrangers(nodeId);
      const unknown: HeldJob[] = [];
      const told = new Map(held.map((one) => [`${one.jobId}.${one.epoch}`, one]));
      const active = [...queue.active(nodeId)];
      for (const one of held) {
        const job = queue.job(one.jobId);
        if (job?.nodeId === nodeId && job.epoch === one.epoch && !isFinalState(job.state)) continue;
        const decision = decideHeld(job, one);
        if (decision === 'adopt' && job !== null && !parts.isAssigning(job.id)) adopt(job, one, nodeId);
        else {
          holdStranger(nodeId, one);
          if (job === null) unknown.push(one);
          else if (isGivenUp(job, one)) stopGivenUp(session, job, one.epoch);
          refusals.refused({ nodeId, ...one, decision }, 'a node holds a job that is not active here');
        }
      }
      questions.set(nodeId, { session, waiting: unknown, asked: 0 });
      ask(nodeId);
      const compared = active.map(async (job) => {
        // Adoption may have moved it to another epoch just now.
        const present = queue.job(job.id);
        if (present?.nodeId !== nodeId || present.epoch !== job.epoch) return;
        await compare(session, present, told.get(`${job.id}.${job.epoch}`) ?? null, rebooted);
      });
      await Promise.all(compared);
    },
    async reported(session, report) {
      const { nodeId } = session;
      const { jobId, epoch } = report;
      const open = questions.get(nodeId);
      if (open?.session === session && open.asked > 0) open.asked -= 1;
      ask(nodeId);
      if (queue.job(jobId) !== null) return;
      const { job, isOurs } = adoptedJob(nodeId, report, parts.readOrder);
      if (job === null) {
        log.warn({ jobId, epoch, nodeId }, 'a node holds a job of which nobody knows the order any more');
        return;
      }
      log.warn(
        { jobId, epoch, nodeId, state: job.state, isOurs },
        'adopted a job that the store had lost, from its node',
      );
      // It will tell the end once more, and is to find the job then.
      if (isFinalState(job.state)) tellsEnd(nodeId, `${jobId}.${epoch}`);
      const stored = queue.insertJob(job);
      strangers.get(nodeId)?.delete(`${jobId}.${epoch}`);
      placement.release(`${jobId}.${epoch}`);
      if (!isFinalState(job.state)) {
        placement.hold(jobId, nodeId, demandOf(job.spec), job.devices);
        parts.adopted(job);
      }
      await stored;
      // What of its output is on disk already; the node sends the rest.
      session.outputSynced(jobId, epoch, await parts.output.syncedLengths(jobId, epoch));
    },
    notSuperseded(session, jobId, epoch) {
      parts.clock.after(SUPERSEDE_AGAIN_MS, () => {
        const job = queue.job(jobId);
        if (fleet.session(session.nodeId) !== session || job?.state !== 'STARTING' || job.epoch !== epoch)
          return;
        supersede(session, job);
      });
    },
    over(nodeId, jobId, epoch) {
      const name = `${jobId}.${epoch}`;
      if (strangers.get(nodeId)?.delete(name) !== true) return false;
      placement.release(name);
      tellsEnd(nodeId, name);
      return true;
    },
    ended(nodeId, { jobId, epoch, endedAtMs }) {
      if (clock.wallMs() - endedAtMs > LATE_MS) tellsEnd(nodeId, `${jobId}.${epoch}`);
    },
    holds(nodeId, jobId, epoch) {
      const name = `${jobId}.${epoch}`;
      const toldMs = told.get(nodeId)?.get(name) ?? Number.NEGATIVE_INFINITY;
      return strangers.get(nodeId)?.has(name) === true || clock.monotonicMs() - toldMs < TOLD_MS;
    },
  };
}

function isSame(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((one) => b.includes(one));
}
