// Shims and jobs of a simulated host: what happens between the word of an agent and the end record of an attempt,
// whatever becomes of the agent meanwhile. As the real one (native/shim): who creates `started` runs; a shim that finds
// the work of a dead one ends what is left and records it as lost.
import {
  type ExecutionEvents,
  type ProcessEnd,
  type StartRequest,
  unknownEnd,
} from '../../src/job/executor/executor.ts';
import type { OutputStream } from '../../src/job/job.ts';
import type { History } from '../campaign/history.ts';
import { digestOf, ENDLESS, ENDLESS_MS, outputBytes, planRun, type Run } from './plan.ts';
import type { Dice } from './seed.ts';
import type { Life, Time } from './time.ts';

/** Between the word of an agent and what a shim does about it. */
export const SHIM_MS = 30;

export interface Attachment {
  readonly life: Life;
  readonly events: ExecutionEvents;
  detached: boolean;
  toldStarted: boolean;
  over: boolean;
}

export interface Attempt {
  readonly jobId: string;
  readonly epoch: number;
  request: StartRequest | null;
  run: Run;
  /** What its output is made from: the name of the job in the plan, and the attempt. */
  content: string;
  /** Somebody has created `started`; `job`: the job's process, and so it ran. */
  claimed: 'no' | 'never' | 'job';
  shimAlive: boolean;
  jobAlive: boolean;
  startedAtMs: number;
  startedMonotonicMs: number;
  end: ProcessEnd | null;
  readonly bytes: Record<OutputStream, number>;
  attachment: Attachment | null;
  stopping: boolean;
  leaseTimer: { cancel(): void } | null;
}

export interface ShimParts {
  readonly node: string;
  readonly seed: number;
  readonly time: Time;
  readonly dice: Dice;
  readonly history: History;
  readonly wallMs: () => number;
  /** Number of the present boot: what was begun in another one is gone. */
  readonly boot: () => number;
  /** The attempt's folder is there. */
  readonly isHere: (attempt: Attempt) => boolean;
}

export function createShims(parts: ShimParts) {
  const { node, time, dice, history, boot, isHere } = parts;

  /** To the agent that listens at present, after a while. */
  function tell(attempt: Attempt, fn: (attachment: Attachment) => void): void {
    const { attachment } = attempt;
    if (attachment === null || attachment.detached) return;
    time.at(dice.random() * 8, () =>
      attachment.life.run(() => {
        if (!attachment.detached && !attachment.over) fn(attachment);
      }),
    );
  }

  function tellStarted(attempt: Attempt): void {
    tell(attempt, (attachment) => {
      if (attachment.toldStarted) return;
      attachment.toldStarted = true;
      attachment.events.started(pidOf(attempt), attempt.startedAtMs);
    });
  }

  function tellEnd(attempt: Attempt): void {
    tell(attempt, (attachment) => {
      const { end } = attempt;
      if (end === null) return;
      attachment.over = true;
      if (!attachment.toldStarted && end.startedAtMs !== null)
        attachment.events.started(pidOf(attempt), end.startedAtMs);
      if (end.stdoutBytes + end.stderrBytes > 0) attachment.events.output(end.stdoutBytes, end.stderrBytes);
      attachment.events.ended(end);
    });
  }

  const pidOf = (attempt: Attempt): number => 1000 + (attempt.startedMonotonicMs | 0);

  /** A shim is started on the folder; what it does depends on what it finds there. */
  function startShim(attempt: Attempt): void {
    if (!isHere(attempt) || attempt.shimAlive) return;
    if (attempt.end !== null) tellEnd(attempt);
    else if (attempt.claimed === 'no') begin(attempt);
    else bury(attempt);
  }

  function begin(attempt: Attempt): void {
    const { request } = attempt;
    if (request === null) return;
    attempt.shimAlive = true;
    const planned = planRun(parts.seed, Number(request.spec.name?.slice(1) ?? 0), attempt.epoch);
    attempt.run =
      request.spec.command[0] === ENDLESS ? { ...planned, durationMs: ENDLESS_MS, writes: [] } : planned;
    attempt.content = `${request.spec.name}.${attempt.epoch}`;
    attempt.claimed = 'job';
    const bornIn = boot();
    if (!attempt.run.canStart) {
      attempt.claimed = 'never';
      const errno = 'ENOENT';
      finish(attempt, {
        ...unknownEnd,
        kind: 'failedToStart',
        failedStep: 'exec',
        errno,
        endedAtMs: parts.wallMs(),
      });
      return;
    }
    attempt.jobAlive = true;
    attempt.startedAtMs = parts.wallMs();
    attempt.startedMonotonicMs = time.nowMs();
    const devices =
      request.environment.VISIBLE === undefined
        ? []
        : request.environment.VISIBLE.split(',').filter((id) => id !== '');
    history.add(`machine ${node}`, {
      kind: 'start',
      jobId: attempt.jobId,
      epoch: attempt.epoch,
      node,
      devices,
    });
    tellStarted(attempt);
    const { run } = attempt;
    for (const { at, stream, bytes } of run.writes)
      time.at(at * run.durationMs, () => {
        if (bornIn !== boot() || !attempt.jobAlive || !attempt.shimAlive) return;
        attempt.bytes[stream] += bytes;
        tell(attempt, ({ events }) => events.output(attempt.bytes.stdout, attempt.bytes.stderr));
      });
    time.at(run.durationMs, () => {
      if (bornIn === boot() && attempt.shimAlive)
        endJob(
          attempt,
          run.signal === 0 ? run.exitCode : null,
          run.signal === 0 ? null : run.signal,
          null,
          run.outOfMemory,
        );
    });
    if (request.spec.timeLimitMs !== null)
      time.at(request.spec.timeLimitMs, () => {
        if (bornIn === boot()) stopJob(attempt, request.spec.graceMs, 'timeLimit');
      });
    if (request.leaseMs !== null) renew(attempt, request.leaseMs);
  }

  /** The job's process has ended, and all of its tree. */
  function endJob(
    attempt: Attempt,
    exitCode: number | null,
    signal: number | null,
    stopped: ProcessEnd['stopped'],
    outOfMemory: boolean,
    killed = false,
  ): void {
    if (!attempt.jobAlive) return;
    attempt.jobAlive = false;
    recordExit(attempt, exitCode, signal, stopped, outOfMemory);
    finish(attempt, {
      ...unknownEnd,
      kind: exitCode === null ? 'signalled' : 'exited',
      exitCode,
      signal,
      stopped,
      killed,
      startedAtMs: attempt.startedAtMs,
      endedAtMs: parts.wallMs(),
      durationMs: time.nowMs() - attempt.startedMonotonicMs,
      cpuUserSeconds: 0,
      cpuSystemSeconds: 0,
      maxResidentBytes: 1,
      outOfMemory: outOfMemory ? { kills: 1, firstAtMs: parts.wallMs() } : null,
      stdoutBytes: attempt.bytes.stdout,
      stderrBytes: attempt.bytes.stderr,
    });
  }

  function recordExit(
    attempt: Attempt,
    exitCode: number | null,
    signal: number | null,
    stopped: ProcessEnd['stopped'],
    outOfMemory: boolean,
  ): void {
    const fact = (stream: OutputStream) => ({
      bytes: attempt.bytes[stream],
      digest: digestOf(outputBytes(attempt.content, stream, 0, attempt.bytes[stream])),
    });
    history.add(`machine ${node}`, {
      kind: 'exit',
      jobId: attempt.jobId,
      epoch: attempt.epoch,
      node,
      exitCode,
      signal,
      outOfMemory,
      stopped,
      stdout: fact('stdout'),
      stderr: fact('stderr'),
    });
  }

  /** The end record, a while after the end itself; the shim may be killed in between. */
  function finish(attempt: Attempt, end: ProcessEnd): void {
    const bornIn = boot();
    time.at(dice.random() * SHIM_MS, () => {
      if (!attempt.shimAlive || bornIn !== boot()) return;
      attempt.end = end;
      attempt.shimAlive = false;
      tellEnd(attempt);
    });
  }

  /** A shim that finds the work of a dead one. */
  function bury(attempt: Attempt): void {
    if (attempt.claimed === 'never') {
      attempt.end = { ...unknownEnd, kind: 'failedToStart', failedStep: 'claim', endedAtMs: parts.wallMs() };
      tellEnd(attempt);
      return;
    }
    endTree(attempt);
    attempt.end = {
      ...unknownEnd,
      startedAtMs: attempt.startedAtMs,
      endedAtMs: parts.wallMs(),
      stdoutBytes: attempt.bytes.stdout,
      stderrBytes: attempt.bytes.stderr,
      detail: 'its shim was killed',
    };
    tellEnd(attempt);
  }

  function endTree(attempt: Attempt): void {
    if (!attempt.jobAlive) return;
    attempt.jobAlive = false;
    recordExit(attempt, null, 9, null, false);
  }

  function stopJob(attempt: Attempt, graceMs: number, why: 'timeLimit' | 'lease' | 'stop'): void {
    if (!attempt.jobAlive || !attempt.shimAlive || attempt.stopping) return;
    attempt.stopping = true;
    const { onStop } = attempt.run;
    const waitMs = onStop === 'ignores' ? graceMs : dice.random() * Math.min(graceMs, 500);
    const bornIn = boot();
    time.at(waitMs, () => {
      if (bornIn !== boot() || !attempt.shimAlive) return;
      if (onStop === 'exits' && waitMs < graceMs) endJob(attempt, 3, null, why, false);
      else endJob(attempt, null, onStop === 'dies' ? 15 : 9, why, false, onStop === 'ignores');
    });
  }

  function renew(attempt: Attempt, leaseMs: number): void {
    attempt.leaseTimer?.cancel();
    attempt.leaseTimer = time.at(leaseMs, () =>
      stopJob(attempt, attempt.request?.spec.graceMs ?? 0, 'lease'),
    );
  }

  return { startShim, stopJob, renew, endTree, tell, tellStarted, tellEnd };
}
