// A host of the simulation: the folders of attempts, and the shims and jobs in them, which go on whatever becomes of
// the agent. Its executor does what executor/process.ts and the shim do together: the record `started`, which only one
// can create, decides who runs; the record `end` is the last act; an attempt whose shim died is ended and lost.
import { basename } from 'node:path';
import type {
  Execution,
  ExecutionEvents,
  Executor,
  ProcessEnd,
  RecoverRequest,
  StartRequest,
} from '../../src/job/executor/executor.ts';
import { unknownEnd } from '../../src/job/executor/executor.ts';
import type { JobFolders } from '../../src/job/folders.ts';
import type { OutputStream } from '../../src/job/job.ts';
import type { History } from '../campaign/history.ts';
import type { Weather } from './disks.ts';
import { digestOf, outputBytes, planRun, type Run } from './plan.ts';
import type { Dice } from './seed.ts';
import type { Life, Time } from './time.ts';

/** Between the word of an agent and what a shim does about it. */
const SHIM_MS = 30;

interface Attachment {
  readonly life: Life;
  readonly events: ExecutionEvents;
  detached: boolean;
  toldStarted: boolean;
  over: boolean;
}

interface Attempt {
  readonly jobId: string;
  readonly epoch: number;
  request: StartRequest | null;
  run: Run;
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

export interface Machine {
  readonly node: string;
  executor(life: Life): Executor;
  folders(life: Life): JobFolders;
  /** Kills the shim of some running attempt; false when there is none. */
  killShim(): boolean;
  /** All processes are gone, and the boot id is another. */
  reboot(): void;
  bootId(): string;
  /** What is still there, in words. */
  residue(): readonly string[];
  /** What an attempt has kept of a stream. */
  kept(name: string, stream: OutputStream): number;
}

export interface MachineParts {
  readonly node: string;
  readonly seed: number;
  readonly time: Time;
  readonly dice: Dice;
  readonly history: History;
  readonly weather: Weather;
  readonly wallMs: () => number;
}

export function createMachine(parts: MachineParts): Machine {
  const { node, time, dice, history } = parts;
  /** By `job.epoch`. */
  const attempts = new Map<string, Attempt>();
  /** Folders, and whether something is in them. */
  const folders = new Map<string, { filled: boolean; workspace: boolean }>();
  const kept = new Map<string, Record<OutputStream, number>>();
  let boot = 1;
  const bootId = (): string => `boot-${node}-${boot}`;

  function attemptOf(name: string, jobId: string, epoch: number): Attempt {
    let attempt = attempts.get(name);
    if (attempt === undefined) {
      attempt = {
        jobId,
        epoch,
        request: null,
        run: planRun(parts.seed, 0, 0),
        claimed: 'no',
        shimAlive: false,
        jobAlive: false,
        startedAtMs: 0,
        startedMonotonicMs: 0,
        end: null,
        bytes: { stdout: 0, stderr: 0 },
        attachment: null,
        stopping: false,
        leaseTimer: null,
      };
      attempts.set(name, attempt);
    }
    return attempt;
  }

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
  const nameOf = ({ jobId, epoch }: Attempt): string => `${jobId}.${epoch}`;
  const isHere = (attempt: Attempt): boolean => attempts.get(nameOf(attempt)) === attempt;

  function fill(name: string): void {
    const folder = folders.get(name);
    if (folder !== undefined) folder.filled = true;
  }

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
    attempt.run = planRun(parts.seed, Number(request.spec.name?.slice(1) ?? 0), attempt.epoch);
    attempt.claimed = 'job';
    const bornIn = boot;
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
        if (bornIn !== boot || !attempt.jobAlive || !attempt.shimAlive) return;
        attempt.bytes[stream] += bytes;
        tell(attempt, ({ events }) => events.output(attempt.bytes.stdout, attempt.bytes.stderr));
      });
    time.at(run.durationMs, () => {
      if (bornIn === boot && attempt.shimAlive)
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
        if (bornIn === boot) stopJob(attempt, request.spec.graceMs, 'timeLimit');
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
    const name = nameOf(attempt);
    kept.set(name, { ...attempt.bytes });
    const fact = (stream: OutputStream) => ({
      bytes: attempt.bytes[stream],
      digest: digestOf(outputBytes(name, stream, 0, attempt.bytes[stream])),
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
    const bornIn = boot;
    time.at(dice.random() * SHIM_MS, () => {
      if (!attempt.shimAlive || bornIn !== boot) return;
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
    const bornIn = boot;
    time.at(waitMs, () => {
      if (bornIn !== boot || !attempt.shimAlive) return;
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

  function executionOf(attempt: Attempt, attachment: Attachment): Execution {
    const word = (fn: () => void): void => {
      if (attachment.life.isAlive() && !attachment.detached)
        time.at(dice.random() * SHIM_MS, () => {
          if (isHere(attempt)) fn();
        });
    };
    /** A shim that has yet to come hears it when it is there. */
    function stop(graceMs: number): void {
      word(() => {
        if (attempt.end !== null || attempt.claimed === 'never') return;
        if (attempt.jobAlive && attempt.shimAlive) stopJob(attempt, graceMs, 'stop');
        else if (attachment.life.isAlive()) time.at(20, () => stop(graceMs));
      });
    }
    return {
      stop,
      renew: (leaseMs) => word(() => renew(attempt, leaseMs)),
      detach() {
        attachment.detached = true;
      },
    };
  }

  function attach(attempt: Attempt, life: Life, events: ExecutionEvents): Attachment {
    const attachment = { life, events, detached: false, toldStarted: false, over: false };
    attempt.attachment = attachment;
    return attachment;
  }

  function nest(attempt: Attempt, life: Life): void {
    time.at(dice.random() * SHIM_MS, () => {
      // The agent may die before its nest has heard of it, or just after.
      if (life.isAlive() || dice.chance(0.5)) startShim(attempt);
    });
  }

  function end(attempt: Attempt, what: Partial<ProcessEnd> & Pick<ProcessEnd, 'kind'>): void {
    attempt.end = { ...unknownEnd, endedAtMs: parts.wallMs(), ...what };
    tellEnd(attempt);
  }

  function recover(attempt: Attempt, request: RecoverRequest, life: Life): void {
    if (!life.isAlive()) return;
    if (attempt.end !== null) {
      tellEnd(attempt);
      return;
    }
    if ((request.acceptedBootId ?? request.bootId) !== request.bootId) {
      end(attempt, {
        kind: 'lost',
        startedAtMs: attempt.claimed === 'job' ? attempt.startedAtMs : null,
        stdoutBytes: attempt.bytes.stdout,
        stderrBytes: attempt.bytes.stderr,
        detail: 'the host was restarted',
      });
      return;
    }
    if (request.start === null && attempt.claimed === 'no') {
      attempt.claimed = 'never';
      end(attempt, { kind: 'failedToStart', failedStep: 'claim' });
      return;
    }
    if (attempt.claimed === 'no') attempt.request = request.start;
    if (attempt.shimAlive) {
      if (attempt.claimed === 'job') tellStarted(attempt);
      tell(attempt, ({ events }) => events.output(attempt.bytes.stdout, attempt.bytes.stderr));
    } else nest(attempt, life);
  }

  return {
    node,
    bootId,
    kept: (name, stream) => (attempts.get(name)?.bytes ?? kept.get(name))?.[stream] ?? 0,

    executor: (life) => ({
      name: 'process',
      probe: () => null,
      start(request, events) {
        const attempt = attemptOf(basename(request.folder), request.jobId, request.epoch);
        const attachment = attach(attempt, life, events);
        if (life.isAlive()) {
          attempt.request = request;
          fill(basename(request.folder));
          nest(attempt, life);
        }
        return executionOf(attempt, attachment);
      },
      recover(request, events) {
        const attempt = attemptOf(basename(request.folder), request.jobId, request.epoch);
        const attachment = attach(attempt, life, events);
        if (life.isAlive()) fill(basename(request.folder));
        queueMicrotask(() => recover(attempt, request, life));
        return executionOf(attempt, attachment);
      },
      close() {},
    }),

    folders: (life) => ({
      open: () => [...folders.keys()],
      make(folder) {
        if (!life.isAlive()) return;
        if (parts.weather.state === 'full')
          throw Object.assign(new Error('ENOSPC: made up'), { code: 'ENOSPC' });
        const name = basename(folder);
        if (folders.has(name)) throw Object.assign(new Error('EEXIST: made up'), { code: 'EEXIST' });
        folders.set(name, { filled: false, workspace: false });
      },
      makeWorkspace(folder, again) {
        if (!life.isAlive()) return;
        const name = basename(folder);
        if (again && !folders.has(name)) folders.set(name, { filled: false, workspace: false });
        const known = folders.get(name);
        if (known !== undefined) known.workspace = true;
      },
      removeIfEmpty(folder) {
        const name = basename(folder);
        if (!life.isAlive() || folders.get(name)?.filled !== false) return false;
        return folders.delete(name);
      },
      async remove(folder) {
        const name = basename(folder);
        await life.later(dice.random() * 20);
        if (!life.isAlive()) return;
        const attempt = attempts.get(name);
        if (attempt?.jobAlive || attempt?.shimAlive)
          history.add(`machine ${node}`, {
            kind: 'residue',
            node,
            what: `the folder of ${name} was removed under it`,
          });
        folders.delete(name);
        attempts.delete(name);
      },
      async readOutput(folder, stream, offset, limit) {
        await life.later(dice.random() * 3);
        const name = basename(folder);
        const size = attempts.get(name)?.bytes[stream] ?? 0;
        return outputBytes(name, stream, offset, Math.max(0, Math.min(limit, size - offset)));
      },
      readMeter: async () => null,
    }),

    killShim() {
      const running = [...attempts.values()].filter(({ shimAlive }) => shimAlive);
      if (running.length === 0) return false;
      const attempt = dice.pick(running);
      attempt.shimAlive = false;
      attempt.leaseTimer?.cancel();
      const why = 'its shim was killed';
      history.add('world', { kind: 'truthLost', node, jobId: attempt.jobId, epoch: attempt.epoch, why });
      // The kernel ends the job with its shim; a grandchild may live on until it is buried.
      if (dice.chance(0.7)) endTree(attempt);
      const { attachment } = attempt;
      // A connection that closes without `ended`: the agent looks, and starts a shim again.
      if (attachment !== null && !attachment.detached)
        time.at(dice.random() * 20, () => attachment.life.run(() => nest(attempt, attachment.life)));
      return true;
    },

    reboot() {
      history.add('world', {
        kind: 'truthLost',
        node,
        jobId: null,
        epoch: null,
        why: 'the host was restarted',
      });
      for (const attempt of attempts.values()) {
        attempt.shimAlive = false;
        attempt.leaseTimer?.cancel();
        endTree(attempt);
      }
      boot += 1;
    },

    residue() {
      const left: string[] = [];
      for (const [name, { jobAlive, shimAlive }] of attempts)
        if (jobAlive || shimAlive) left.push(`the ${jobAlive ? 'job' : 'shim'} of ${name}`);
      for (const name of folders.keys()) left.push(`the folder of ${name}`);
      return left;
    },
  };
}
