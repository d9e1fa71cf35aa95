// Orders carried out, exactly once. The life of an attempt (job, epoch):
//
//   start order -> admission -> intent in the journal, synced -> accepted -> executor.start
//   accepted  -> running   the executor says that the program runs
//   accepted, running -> ended   the executor says how it ended: settled into the one result, journalled, synced, told
//   ended -> acknowledged -> output delivered (or RETAIN_MS later) -> folder removed -> closed: only its name is kept
//
// INVARIANTS
// - Nothing starts before its intent is on disk, so after a crash every attempt that may have begun is known.
// - An intent without any trace of a start is started once more after a crash of the agent, and only in the same
//   boot: the record `started` in its folder, which only one process can create, makes a second start impossible.
//   After a reboot it is LOST, since a power cut may have taken that record.
// - A refusal is an answer for good: the same (job, epoch) gets it again, so a late copy of an order starts nothing.
// - One result per attempt, written once; it is told when it is on disk, again after each restart until it is
//   acknowledged. Only a broken disk lets it be told earlier; it would be made again from the same facts.
import { join } from 'node:path';
import { type Clock, every } from '../base/clock.ts';
import { describeError, isFault } from '../base/fault.ts';
import type { Log } from '../base/log.ts';
import type { Native } from '../native.ts';
import type { AuditSink } from '../protocol/audit.ts';
import type { HeldJob, StartOrder, StopOrder } from '../protocol/control.ts';
import type { DeviceFault } from '../protocol/device.ts';
import { isNextBuild, nextFields } from '../protocol/next.ts';
import type { JobResult } from '../protocol/result.ts';
import { decideAdmission } from './admission.ts';
import {
  type Attempt,
  type Book,
  createBook,
  type Granted,
  type OrderProof,
  SETTLED,
  type Stop,
} from './book.ts';
import type { Walls } from './containment/walls.ts';
import type { NodeDataRules } from './data-admission.ts';
import { grantFor, type JobDevices, partitionsOf } from './device-admission.ts';
import { createExecs } from './exec.ts';
import type { Executor } from './executor/executor.ts';
import type { Hit } from './fault-points.ts';
import type { JobFilesOptions } from './files.ts';
import { createJobFolders, type JobFolders } from './folders.ts';
import type { JobEvents, Jobs, OrderAnswer } from './job.ts';
import { createLostDisk, type JournalDisk, openJournal } from './journal.ts';
import { createJournalFile } from './journal-file.ts';
import { acceptedRecord, closedRecord, stopRecord } from './journal-record.ts';
import { createLife } from './life.ts';
import { createNodeState } from './node-state.ts';
import { recoverAll, replayAll } from './recovery.ts';
import type { EnergyAnswer } from './settle.ts';
import { createSpaceWatch } from './space-watch.ts';

/** Output that nobody fetches is kept this long after the result was acknowledged. */
export const RETAIN_MS = 24 * 3600 * 1000;
const SWEEP_PERIOD_MS = 60_000;
/** What the journal takes of the words about a fault. */
const REASON_CHARACTERS_MAX = 900;
const FAULT_CHARACTERS_MAX = 64;

export interface JobsOptions {
  /** The agent's state folder; holds `journal` and `jobs/`. */
  readonly folder: string;
  readonly nodeId: string;
  /** The kernel's boot id. */
  readonly bootId: string;
  readonly executors: readonly Executor[];
  readonly capacity: { readonly cpus: number; readonly memoryBytes: number };
  /** What every job finds in its environment besides flopd's own. */
  readonly environment: Readonly<Record<string, string>>;
  /** The node's devices; without them it grants none and hides none. */
  readonly devices?: JobDevices;
  /** How jobs are walled in and limited; without it they are not. */
  readonly walls?: Walls;
  /** What data it may compute on; without it, jobs that state what their data is are refused. */
  readonly data?: () => NodeDataRules;
  readonly audit?: AuditSink;
  /** Null or none: folders are removed by Node. */
  readonly native?: Native | null;
  readonly clock: Clock;
  readonly log: Log;
  readonly events: JobEvents;
  /** How files reach this node and leave it; without it, jobs with inputs fail to start and outputs are not kept. */
  readonly files?: JobFilesOptions;
  /** Energy attributed to a job that has just ended, in joules; or why it is not known. */
  readonly energy?: (jobId: string, epoch: number) => EnergyAnswer | Promise<EnergyAnswer>;
  /** Supervises what runs even where the journal cannot be read at all. */
  readonly isCareful?: boolean;
  /** Why the node takes no new jobs, or null. */
  readonly draining?: () => string | null;
  /** Uniform in [0, 1). */
  readonly random?: () => number;
  readonly hit?: Hit;
  readonly disk?: JournalDisk;
  /** Where attempts have their folders; without it, on the disk below `folder`. */
  readonly folders?: JobFolders;
}

const accepted: OrderAnswer = { outcome: 'accepted', code: null, message: null };
const duplicate: OrderAnswer = { outcome: 'duplicate', code: null, message: null };
const refused = (code: string, message: string): OrderAnswer => ({ outcome: 'refused', code, message });

/** Opens the journal, takes up every attempt in it, and is ready for orders. Throws where the folder cannot be used. */
export async function createJobs(options: JobsOptions): Promise<Jobs> {
  const { clock, log, bootId } = options;
  const hit = options.hit ?? (() => {});
  const jobsFolder = join(options.folder, 'jobs');
  const folders = options.folders ?? createJobFolders(options.native ?? null);
  const found = folders.open(jobsFolder);

  const book = createBook();
  const disk = options.disk ?? createJournalFile(join(options.folder, 'journal'));
  const journalOptions = { live: book.records, clock, log, random: options.random ?? Math.random };
  const { journal, read } = await openJournal({ ...journalOptions, disk }).catch((error: unknown) => {
    if (options.isCareful !== true) throw error;
    // Jobs are taken up from their folders; nothing new is.
    return openJournal({ ...journalOptions, disk: createLostDisk(error) });
  });
  const problems = replayAll(book, read.records, log);
  if (isNextBuild) journal.appendLazily({ kind: 'fromNext', ...nextFields() });
  const life = createLife({ ...options, hit, folders, book, journal: () => journal });

  const retention = every(clock, SWEEP_PERIOD_MS, () => {
    for (const attempt of book.ended()) {
      if (attempt.acknowledged) attempt.acknowledgedAtMs ??= clock.monotonicMs();
      const sinceMs = attempt.acknowledgedAtMs === null ? 0 : clock.monotonicMs() - attempt.acknowledgedAtMs;
      life.removeIfDone(attempt, sinceMs >= RETAIN_MS);
    }
  });

  const space = createSpaceWatch(() => folders.look(), clock);
  const nodeState = createNodeState(options, { book, life, journal, folders });

  /** Refuses for good: the name and the answer are kept. */
  function refuseFor(jobId: string, epoch: number, untilMs: number) {
    return (code: string, message: string): OrderAnswer => {
      if (code.startsWith('DATA_')) options.audit?.('policy.refused', { by: 'node', jobId, epoch, code });
      journal.appendLazily(closedRecord([book.close(jobId, epoch, { code, message }, untilMs)]));
      return refused(code, message);
    };
  }

  /** The answer to an order for an attempt that is not held, where its name alone decides. */
  function answerByName(jobId: string, epoch: number): OrderAnswer | null {
    const closed = book.closed(jobId, epoch);
    // A scheduler that has lost what it acknowledged learns it from the code: nothing more will come of this attempt.
    if (closed !== null)
      return closed.code === SETTLED
        ? { outcome: 'duplicate', ...closed }
        : refused(closed.code, closed.message);
    const highest = book.highestEpoch(jobId);
    if (epoch < highest) {
      log.warn({ jobId, epoch, highest }, 'an order was refused: a later attempt was ordered since');
      return refused('JOB_EPOCH_STALE', `epoch ${epoch} is over: ${highest} was ordered since`);
    }
    return null;
  }

  /** A copy of an order whose name is not remembered any more. */
  function answerForgotten(proof: OrderProof | null): OrderAnswer | null {
    if (proof === null || !book.mayBeForgotten(proof.expiresAtMs, clock.wallMs())) return null;
    return refused('ORDER_EXPIRED', 'the order is older than what this node remembers of orders');
  }

  async function start(order: StartOrder, proof: OrderProof | null = null): Promise<OrderAnswer> {
    hit('order.received');
    const { jobId, epoch } = order;
    const refuse = refuseFor(jobId, epoch, proof?.expiresAtMs ?? 0);
    const known = book.find(jobId, epoch);
    if (known !== null) {
      if (!(await known.durable))
        return refused('JOB_NO_DURABLE_SPACE', 'the order could not be made durable');
      life.retell(known);
      return duplicate;
    }
    const answer = answerByName(jobId, epoch) ?? answerForgotten(proof);
    if (answer !== null) return answer;
    const older = book.unfinished(jobId);
    if (older !== null) {
      void stop({
        type: 'stop',
        orderId: order.orderId,
        jobId,
        epoch: older.epoch,
        by: 'scheduler',
        reason: `epoch ${epoch} was ordered`,
      });
      return refuse(
        'JOB_OLDER_EPOCH_RUNS',
        `epoch ${older.epoch} of this job still runs here; it is being stopped`,
      );
    }
    const refusal = decideAdmission(order, nodeState(order));
    hit('admission.decided');
    if (refusal !== null) return refuse(refusal.code, refusal.message);

    let granted: Granted | null;
    try {
      granted = grantFor(options.devices, order.devices);
    } catch (error) {
      const hasGone = isFault(error, 'DEVICE_UNKNOWN');
      const code = hasGone ? 'JOB_DEVICE_UNKNOWN' : 'JOB_DEVICE_GRANT_FAILED';
      return refuse(code, `its devices cannot be granted: ${describeError(error)}`);
    }
    const user = options.walls?.chooseUser(heldUsers(book)) ?? { userId: null };
    if ('code' in user) return refuse(user.code, user.message);
    const attempt = book.add({ jobId, epoch, order, proof, bootId, granted });
    life.wall(attempt, user.userId);
    try {
      life.prepare(attempt);
    } catch (error) {
      return refuse('JOB_NO_DURABLE_SPACE', `its folder cannot be made: ${describeError(error)}`);
    }
    life.hold(attempt);
    const written = journal.append(acceptedRecord(attempt, order, bootId));
    attempt.durable = written.then(
      () => true,
      () => false,
    );
    hit('intent.written');
    await Promise.resolve(); // the journal's write has begun
    life.prepareWorkspace(attempt);
    if (!(await attempt.durable)) {
      life.release(attempt);
      await folders.remove(life.folderOf(attempt)).catch(() => {});
      return refuse('JOB_NO_DURABLE_SPACE', `no durable space: ${journal.problem() ?? 'the journal failed'}`);
    }
    hit('intent.synced');
    if (attempt.stop === null) life.launch(attempt);
    else life.settleUnstarted(attempt);
    hit('start.answered');
    return accepted;
  }

  async function stop(order: StopOrder, untilMs = 0): Promise<OrderAnswer> {
    const { jobId, epoch, by, reason } = order;
    const attempt = book.find(jobId, epoch);
    if (attempt === null) {
      const answer = answerByName(jobId, epoch);
      if (answer !== null) return answer;
      // Remembered on disk, so that a start order that is still on its way does nothing.
      const message = `it was stopped by ${by} before its start order came`;
      const closed = book.close(jobId, epoch, { code: 'JOB_STOPPED', message }, untilMs);
      await journal.append(closedRecord([closed])).catch(() => {});
      return refused(
        'JOB_UNKNOWN',
        'this node does not know the job; a start order for it is refused from now on',
      );
    }
    if (attempt.result !== null) {
      life.retell(attempt);
      return duplicate;
    }
    return (await stopAttempt(attempt, { by, reason, fault: null })) ? accepted : duplicate;
  }

  /** True for the first who stops it; the others only ask again. */
  async function stopAttempt(attempt: Attempt, why: Stop): Promise<boolean> {
    const first = attempt.stop === null;
    attempt.stop ??= why;
    if (first) {
      const written = journal.append(stopRecord(attempt, why));
      hit('stop.written');
      // A stop is carried out even if it cannot be remembered.
      await written.catch((error: unknown) =>
        log.warn({ problem: describeError(error) }, 'a stop order is not on disk'),
      );
      hit('stop.synced');
    }
    attempt.execution?.stop(attempt.order?.spec.graceMs ?? 0);
    hit('stop.told');
    return first;
  }

  function deviceFailed(ids: readonly string[], { code, text }: Pick<DeviceFault, 'code' | 'text'>): void {
    const records = options.devices?.records() ?? [];
    const failed = new Set([...ids, ...ids.flatMap((id) => partitionsOf(id, records))]);
    for (const attempt of book.attempts()) {
      const { order, result, stop: stopped } = attempt;
      if (order === null || result !== null || stopped !== null) continue;
      const device = order.devices.find((id) => failed.has(id));
      if (device === undefined) continue;
      const { jobId, epoch } = attempt;
      log.warn({ jobId, epoch, device, fault: code }, 'a job is stopped: its device failed');
      const reason = `device ${device}: ${text}`.slice(0, REASON_CHARACTERS_MAX);
      void stopAttempt(attempt, { by: 'node', reason, fault: code.slice(0, FAULT_CHARACTERS_MAX) });
    }
  }

  const execs = createExecs({ find: book.find, isFirst: isFirstExec, clock, log });

  /** An exec is carried out once: its name is kept like that of an attempt, and as long. */
  function isFirstExec(execId: string, untilMs: number): boolean {
    if (book.closed(execId, 1) !== null || book.mayBeForgotten(untilMs, clock.wallMs())) return false;
    const closed = book.close(execId, 1, { code: 'EXEC_ORDERED', message: 'it was ordered once' }, untilMs);
    void journal.append(closedRecord([closed])).catch(() => {});
    return true;
  }

  problems.push(...recoverAll({ book, life, folders, jobsFolder, found, log }));
  options.walls?.sweep((name) => isOver(book, name));

  return {
    start,
    stop,

    held() {
      const list: HeldJob[] = [];
      for (const { jobId, epoch, phase, acknowledged, order, result } of book.attempts()) {
        if (acknowledged) continue;
        // The devices of a job whose order was lost are not known.
        const devices = result !== null ? [] : order === null ? null : order.devices;
        list.push({ jobId, epoch, phase, devices });
      }
      return list;
    },

    problem() {
      const found = journal.problem() ?? space.problem();
      return found === null ? null : `no durable space: ${found}`;
    },

    problems: () => problems,

    report(jobId, epoch) {
      const attempt = book.find(jobId, epoch);
      if (attempt === null) return null;
      const { order, proof, phase, started, result, told } = attempt;
      const startedAtMs = started?.atMs ?? result?.startedAtMs ?? null;
      // Until it is on disk there is no result, and the job has not ended.
      const shown = result !== null && told ? phase : phase === 'ended' ? 'running' : phase;
      return {
        type: 'jobReport',
        jobId,
        epoch,
        order: proof === null ? order : null,
        proof: proof?.message ?? null,
        phase: shown,
        startedAtMs,
        result: shown === 'ended' ? result : null,
      };
    },

    contact: (sinceMs, heartbeatMs) => life.contact(sinceMs, heartbeatMs),

    unsettled() {
      const list: JobResult[] = [];
      for (const { result, told, acknowledged } of book.ended())
        if (result !== null && told && !acknowledged) list.push(result);
      return list;
    },

    deviceFailed,

    heldDevices() {
      const ids = new Set<string>();
      for (const { order, holds } of book.attempts())
        if (holds) for (const id of order?.devices ?? []) ids.add(id);
      return ids;
    },

    acknowledged(jobId, epoch) {
      const attempt = book.find(jobId, epoch);
      if (attempt === null || attempt.result === null || attempt.acknowledged) return;
      attempt.acknowledged = true;
      attempt.acknowledgedAtMs = clock.monotonicMs();
      journal.appendLazily({ kind: 'acknowledged', jobId, epoch });
      hit('result.acknowledged');
      life.removeIfDone(attempt, false);
    },

    delivered(jobId, epoch, stdoutBytes, stderrBytes) {
      const attempt = book.find(jobId, epoch);
      if (attempt === null) return;
      attempt.deliveredStdoutBytes = Math.max(attempt.deliveredStdoutBytes, stdoutBytes);
      attempt.deliveredStderrBytes = Math.max(attempt.deliveredStderrBytes, stderrBytes);
      life.removeIfDone(attempt, false);
    },

    async readOutput(jobId, epoch, stream, offset, limit) {
      const attempt = book.find(jobId, epoch);
      return attempt === null ? null : folders.readOutput(life.folderOf(attempt), stream, offset, limit);
    },

    execs,

    runningCount() {
      let count = 0;
      for (const { phase } of book.attempts()) if (phase === 'running') count += 1;
      return count;
    },

    async close() {
      retention.cancel();
      space.close();
      execs.close();
      for (const attempt of book.attempts()) attempt.execution?.detach();
      for (const executor of options.executors) executor.close();
      await life.settled();
      await journal.close();
    },
  };
}

/** Of `JOB.EPOCH`: known here, and ended. Groups of other agents on this host are none of ours. */
function isOver(book: Book, name: string): boolean {
  const at = name.lastIndexOf('.');
  const jobId = name.slice(0, at);
  const epoch = Number(name.slice(at + 1));
  return (book.find(jobId, epoch)?.result ?? book.closed(jobId, epoch)) !== null;
}

/** Users of attempts whose folders are still there. */
function heldUsers(book: Book): ReadonlySet<number> {
  const held = new Set<number>();
  for (const { walled } of book.attempts())
    if (walled !== null && walled.userId !== null) held.add(walled.userId);
  return held;
}
