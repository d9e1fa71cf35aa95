// The life of one attempt after its order was accepted: start or recovery, the facts that its executor tells, the one
// result, and the end of its folder. supervisor.ts decides what is accepted; here it is carried out.
import { join } from 'node:path';
import type { Timer } from '../base/clock.ts';
import { describeError, errnoOf } from '../base/fault.ts';
import { nextFields } from '../protocol/next.ts';
import { hundredthsOf } from './admission.ts';
import { type Attempt, type Book, type Granted, SETTLED } from './book.ts';
import { refuseData } from './data-admission.ts';
import { grantFor } from './device-admission.ts';
import { buildEnvironment } from './environment.ts';
import {
  type ExecutionEvents,
  type Executor,
  jobFile,
  type ProcessEnd,
  type StartRequest,
  unknownEnd,
} from './executor/executor.ts';
import type { Hit } from './fault-points.ts';
import { createJobFiles } from './files.ts';
import type { JobFolders } from './folders.ts';
import type { Journal } from './journal.ts';
import { beganRecord, closedRecord } from './journal-record.ts';
import { createLeases } from './lease.ts';
import { settleJob } from './settle.ts';
import type { JobsOptions } from './supervisor.ts';
import { createWalling } from './walling.ts';

/** Folders that are removed at the same time. */
const REMOVALS_MAX = 2;
/** How long an attempt with a lease waits for the scheduler before it is taken up without the right to start. */
export const CONTACT_PATIENCE_MS = 10_000;

export interface Life {
  /** Decides its walls and limits, as this user (null: the agent's). */
  wall(attempt: Attempt, userId: number | null): void;
  /** Makes the folder of an attempt. Throws the system's error. */
  prepare(attempt: Attempt): void;
  /** Makes its workspace, which may be done while its intent is on the way to the disk. */
  prepareWorkspace(attempt: Attempt): void;
  /** Starts it; its intent is on disk. */
  launch(attempt: Attempt): void;
  /** A round trip with the scheduler is complete that began at this monotonic time: leases count from there. */
  contact(sinceMs: number, heartbeatMs: number): void;
  /** Takes up what an earlier agent accepted. */
  recover(attempt: Attempt): void;
  /** Settles an attempt that was stopped before anything began. */
  settleUnstarted(attempt: Attempt): void;
  /** Tells again what is known. */
  retell(attempt: Attempt): void;
  /** Removes the folder once nobody needs it any more; safe to call at any time. */
  removeIfDone(attempt: Attempt, evenIfUndelivered: boolean): void;
  folderOf(attempt: Pick<Attempt, 'jobId' | 'epoch'>): string;
  /** Counts what a running attempt holds. */
  hold(attempt: Attempt): void;
  release(attempt: Attempt): void;
  heldCpuHundredths(): number;
  heldMemoryBytes(): number;
  /** Ends the work on files; resolves when that on results and folders that is under way is done. */
  settled(): Promise<void>;
}

export interface LifeOptions extends JobsOptions {
  readonly book: Book;
  readonly journal: () => Journal;
  readonly hit: Hit;
  readonly folders: JobFolders;
}

export function createLife(options: LifeOptions): Life {
  const { book, journal, events, hit, folders, clock, log, nodeId, bootId } = options;
  const executors = new Map<string, Executor>(options.executors.map((executor) => [executor.name, executor]));
  const underWay = new Set<Promise<void>>();
  const removals: Attempt[] = [];
  const leases = createLeases(clock);
  /** Attempts with leases that an earlier agent accepted, until it is known whether those still hold. */
  let unconfirmed: Attempt[] = [];
  let patience: Timer | null = null;
  let removing = 0;
  let cpuHundredths = 0;
  let memoryBytes = 0;

  const folderOf = ({ jobId, epoch }: Pick<Attempt, 'jobId' | 'epoch'>): string =>
    join(options.folder, 'jobs', `${jobId}.${epoch}`);
  /** Looked at again: with inputs, or after a restart, much time may have gone by since admission. */
  const whyForbidden = ({ order }: Attempt): string | null =>
    order === null
      ? null
      : (refuseData(order.spec, options.data?.() ?? null, clock.wallMs())?.message ?? null);
  const walling = createWalling(options.walls, executors, folderOf);

  const files = createJobFiles({
    options: options.files ?? null,
    folder: options.folder,
    folderOf,
    book,
    native: options.native ?? null,
    clock,
    random: options.random ?? Math.random,
    log,
    hit,
    progress: ({ jobId, epoch }, text) => events.progress(jobId, epoch, text),
    brought: (attempt) => removeIfDone(attempt, false),
  });

  /** Work that nobody waits for now, but the end of this agent does. */
  function own(work: Promise<void>): void {
    const owned: Promise<void> = work
      .catch((error: unknown) => log.error({ err: error }, 'job: unexpected failure'))
      .finally(() => underWay.delete(owned));
    underWay.add(owned);
  }

  function count(attempt: Attempt, holds: boolean): void {
    if (attempt.holds === holds || attempt.order === null) return;
    attempt.holds = holds;
    const { cpus, memoryBytes: memory } = attempt.order.spec.resources;
    const sign = holds ? 1 : -1;
    cpuHundredths += sign * hundredthsOf(cpus);
    memoryBytes += sign * (memory ?? 0);
  }

  function eventsFor(attempt: Attempt): ExecutionEvents {
    let firstOutput = true;
    return {
      progress: (text) => events.progress(attempt.jobId, attempt.epoch, text),
      started(pid, atMs) {
        hit('started.seen');
        attempt.started = { pid, atMs };
        if (attempt.result === null) attempt.phase = 'running';
        // Its folder says so first, but unsynced: a disk that falls back without a restart of the host forgets it.
        if (!attempt.began) {
          journal().appendLazily(beganRecord(attempt));
          events.began?.(attempt.jobId, attempt.epoch, pid);
        }
        attempt.began = true;
        events.started(attempt.jobId, attempt.epoch, pid, atMs);
        hit('started.sent');
      },
      output(stdoutBytes, stderrBytes) {
        if (firstOutput) hit('output.first');
        firstOutput = false;
        events.outputGrew(attempt.jobId, attempt.epoch, stdoutBytes, stderrBytes);
      },
      ended(end) {
        own(settle(attempt, end));
      },
    };
  }

  async function settle(attempt: Attempt, end: ProcessEnd): Promise<void> {
    hit('exit.seen');
    attempt.execution = null;
    const outputs = end.kind === 'failedToStart' ? [] : await files.collect(attempt);
    // This agent stops; the next one is told of this end again.
    if (outputs === null) return;
    const meter = end.kind === 'failedToStart' ? null : await folders.readMeter(folderOf(attempt));
    hit('settle.read');
    const energy = (await options.energy?.(attempt.jobId, attempt.epoch)) ?? {
      absent: 'nobody measures power here',
    };
    const { jobId, epoch, order, stop, granted, walled } = attempt;
    const outputQuotaBytes = order === null ? null : walling.outputQuotaBytes(order.spec.outputQuotaBytes);
    const settled = settleJob({
      jobId,
      epoch,
      nodeId,
      order,
      granted,
      walled,
      outputQuotaBytes,
      end,
      stop,
      meter,
      energy,
      outputs,
      workspace: join(folderOf(attempt), jobFile.workspace),
    });
    const result = { ...settled, ...nextFields() };
    if (!book.setResult(attempt, result)) return;
    count(attempt, false);
    attempt.stored = await journalled({ kind: 'result', result }, 'result.written');
    hit('result.synced');
    attempt.told = true;
    events.settled?.(result);
    events.ended(result);
    hit('result.sent');
  }

  /** Waits until the record is on disk: true; or until it is clear that the disk will not have it: false. */
  async function journalled(record: object, point: 'result.written'): Promise<boolean> {
    const written = journal().append(record);
    hit(point);
    return written.then(
      () => true,
      (error: unknown) => {
        log.warn({ problem: describeError(error) }, 'a result is told though the disk refuses it');
        return false;
      },
    );
  }

  /** Once more, for a result that the disk refused: until it has it, a restart would find nothing but the order. */
  async function storeAgain(attempt: Attempt): Promise<void> {
    if (attempt.storing || journal().problem() !== null) return;
    attempt.storing = true;
    attempt.stored = await journal()
      .append({ kind: 'result', result: attempt.result })
      .then(
        () => true,
        () => false,
      );
    attempt.storing = false;
    if (attempt.stored) removeIfDone(attempt, false);
  }

  function settleAs(attempt: Attempt, what: Pick<ProcessEnd, 'kind' | 'failedStep' | 'detail'>): void {
    own(settle(attempt, { ...unknownEnd, ...what, endedAtMs: clock.wallMs() }));
  }

  /** For an attempt that was granted nothing: devices may have come since it was accepted. */
  function hiddenNow(): Granted | null {
    try {
      return grantFor(options.devices, []);
    } catch (error) {
      log.error({ err: error }, 'the devices of this node cannot be hidden from a job');
      return null;
    }
  }

  function requestFor(attempt: Attempt): StartRequest | null {
    const { order, jobId, epoch } = attempt;
    if (order === null) return null;
    const granted = attempt.granted ?? hiddenNow();
    const folder = folderOf(attempt);
    const environment = buildEnvironment(
      order,
      nodeId,
      folder,
      options.environment,
      granted?.environment ?? {},
    );
    const workingDirectory = order.spec.workingDirectory ?? join(folder, jobFile.workspace);
    const deviceNodes = granted?.deviceNodes ?? [];
    return {
      jobId,
      epoch,
      spec: order.spec,
      folder,
      environment,
      workingDirectory,
      deviceNodes,
      devices: granted,
      bootId,
      containment: walling.contain(attempt, attempt.walled?.userId ?? null),
      outputQuotaBytes: walling.outputQuotaBytes(order.spec.outputQuotaBytes),
      leaseMs: leases.leftMs(order),
      after: [],
      client: null,
    };
  }

  /** Of an order that was lost: whoever knows the folder; else the process executor, which makes all of them. */
  function executorOf(attempt: Attempt): Executor | undefined {
    if (attempt.order !== null) return executors.get(attempt.order.spec.executor);
    const folder = folderOf(attempt);
    return options.executors.find((one) => one.knows?.(folder) === true) ?? executors.get('process');
  }

  /** Takes up an attempt: attaches to it where it runs; starts it only where it needs no lease, or has one. */
  function takeUp(attempt: Attempt): void {
    const executor = executorOf(attempt);
    if (executor === undefined) {
      settleAs(attempt, {
        kind: 'lost',
        failedStep: null,
        detail: 'its executor is not part of this agent',
      });
      return;
    }
    const folder = folderOf(attempt);
    const { jobId, epoch, stop } = attempt;
    try {
      folders.makeWorkspace(folder, true);
    } catch (error) {
      log.error({ err: error, jobId, epoch, errno: errnoOf(error) }, 'the folder of a job cannot be made');
    }
    const request = stop === null ? requestFor(attempt) : null;
    // Behind other walls than it was accepted for it must not begin now; if it has begun, it runs behind those.
    const mayBegin =
      request !== null && request.leaseMs !== 0 && walling.isWalledAs(attempt, request.containment);
    const { began } = attempt;
    const start = mayBegin && !began && whyForbidden(attempt) === null ? request : null;
    // Without the mark of its inputs nothing of it can have begun, in this boot.
    if (start !== null && attempt.bootId === bootId && files.mustStage(attempt)) {
      launch(attempt);
      return;
    }
    const recovery = { jobId, epoch, folder, bootId, acceptedBootId: attempt.bootId, start, began };
    attempt.execution = executor.recover(recovery, eventsFor(attempt));
    if (stop !== null && attempt.order !== null) attempt.execution.stop(attempt.order.spec.graceMs);
  }

  function confirm(): void {
    patience?.cancel();
    patience = null;
    const waiting = unconfirmed;
    unconfirmed = [];
    for (const attempt of waiting) takeUp(attempt);
  }

  function prepare(attempt: Attempt): void {
    folders.make(folderOf(attempt));
    hit('folder.made');
  }

  /** A job without one fails to start, and its shim says why. */
  function prepareWorkspace(attempt: Attempt): void {
    const { jobId, epoch } = attempt;
    try {
      folders.makeWorkspace(folderOf(attempt), false);
    } catch (error) {
      log.error({ err: error, jobId, epoch, errno: errnoOf(error) }, 'the workspace of a job cannot be made');
    }
  }

  function removeIfDone(attempt: Attempt, evenIfUndelivered: boolean): void {
    const { result, acknowledged } = attempt;
    if (result === null || !acknowledged) return;
    if (!attempt.stored) {
      own(storeAgain(attempt));
      return;
    }
    const delivered =
      files.isBrought(attempt) &&
      attempt.deliveredStdoutBytes >= result.stdoutBytes &&
      attempt.deliveredStderrBytes >= result.stderrBytes;
    if ((delivered || evenIfUndelivered) && !files.isKept(attempt)) remove(attempt);
  }

  function remove(attempt: Attempt): void {
    if (attempt.removing) return;
    attempt.removing = true;
    files.forget(attempt);
    removals.push(attempt);
    if (removing < REMOVALS_MAX) own(work());
  }

  async function work(): Promise<void> {
    removing += 1;
    for (let attempt = removals.shift(); attempt !== undefined; attempt = removals.shift()) {
      const { jobId, epoch } = attempt;
      hit('cleanup.begun');
      try {
        await folders.remove(folderOf(attempt));
      } catch (error) {
        log.warn(
          { err: error, jobId, epoch },
          'the folder of an ended job cannot be removed; tried again after a restart',
        );
      }
      hit('folder.removed');
      const message = 'it has ended and its result was acknowledged';
      const closed = book.close(jobId, epoch, { code: SETTLED, message });
      journal().appendLazily(closedRecord([closed]));
      hit('done.written');
    }
    removing -= 1;
  }

  function launch(attempt: Attempt): void {
    const detail = whyForbidden(attempt);
    if (detail !== null) {
      settleAs(attempt, { kind: 'failedToStart', failedStep: 'data', detail });
      return;
    }
    const request = requestFor(attempt);
    const executor = executors.get(attempt.order?.spec.executor ?? '');
    if (request === null || executor === undefined) throw new Error('admission let an impossible order pass');
    if (request.leaseMs === 0) {
      settleAs(attempt, { kind: 'failedToStart', failedStep: 'lease', detail: null });
      return;
    }
    if (files.mustStage(attempt)) {
      attempt.execution = files.stage(attempt, request.containment.user, {
        // It may have taken long: the lease is looked at again.
        staged: () => launch(attempt),
        failed: (detail) => settleAs(attempt, { kind: 'failedToStart', failedStep: 'input', detail }),
        stopped: () => settleAs(attempt, { kind: 'failedToStart', failedStep: 'claim', detail: null }),
      });
      return;
    }
    attempt.execution = executor.start(request, eventsFor(attempt));
    hit('shim.started');
  }

  return {
    wall(attempt, userId) {
      walling.contain(attempt, userId);
    },
    prepare,
    prepareWorkspace,
    folderOf,
    hold: (attempt) => count(attempt, true),
    release: (attempt) => count(attempt, false),

    launch,

    contact(sinceMs, heartbeatMs) {
      const isFirst = !leases.hasContact();
      leases.contact(sinceMs, heartbeatMs, book.attempts());
      // The first is the welcome; what the scheduler has given up meanwhile, it says before the next.
      if (!isFirst) confirm();
    },

    recover(attempt) {
      count(attempt, true);
      const isLeased = attempt.order?.spec.disconnect.policy === 'stop';
      if (!isLeased || leases.hasContact()) {
        takeUp(attempt);
        return;
      }
      unconfirmed.push(attempt);
      patience ??= clock.after(CONTACT_PATIENCE_MS, confirm);
    },

    settleUnstarted(attempt) {
      settleAs(attempt, { kind: 'failedToStart', failedStep: 'claim', detail: null });
    },

    retell(attempt) {
      const { jobId, epoch, started, result, told } = attempt;
      if (started !== null) events.started(jobId, epoch, started.pid, started.atMs);
      if (result !== null && told) events.ended(result);
    },

    removeIfDone,
    heldCpuHundredths: () => cpuHundredths,
    heldMemoryBytes: () => memoryBytes,

    async settled() {
      files.close();
      patience?.cancel();
      while (underWay.size > 0) await Promise.all(underWay);
    },
  };
}
