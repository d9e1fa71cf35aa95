// The process executor: each job is a child of its own shim (native/shim/), which outlives this agent. Here: write
// the order, start the shim, listen to it, and find it again.
//
//   start    -> waiting            the shim announces itself at the door (shim-link.ts)
//   waiting  -> attached           its hello
//   waiting  -> looking            it has said nothing for a while
//   attached -> looking            the connection closed without `ended`
//   looking  -> ended              an end record is there
//           -> attached            a shim answers at its own door
//           -> waiting             nobody does: start a shim again. The folder decides what that one does: run the
//                                  job if it never began, or end what is left of it and record that its end is lost.
//   attached -> ended              `ended`
//
// INVARIANT: nothing here decides whether a job may run; the record `started` does, which only one can create.
import { spawn as nodeSpawn } from 'node:child_process';
import { accessSync, constants, readFileSync, renameSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { getSystemErrorName } from 'node:util';
import { type Clock, every, type Timer } from '../../base/clock.ts';
import { describeError, errnoOf } from '../../base/fault.ts';
import type { Log } from '../../base/log.ts';
import type { Native } from '../../native.ts';
import type {
  Execution,
  ExecutionEvents,
  Executor,
  ProcessEnd,
  RecoverRequest,
  StartRequest,
} from './executor.ts';
import { claimNeverStarted, encodeSpec, readEnd, readStarted, shimFile, storedBytes } from './shim-files.ts';
import { connectToShim, type Door, openDoor, readLines, type ShimLine } from './shim-link.ts';

/** How often shims that have not announced themselves are looked after. */
const WATCH_PERIOD_MS = 500;
/** Shims that are started for one attempt, before it is given up as lost. */
const SHIMS_MAX = 5;
/** Wait before the next look at an attempt whose shim was lost. */
const LOOK_AGAIN_MS = 20;
/** Ended shims are collected together. */
const REAP_DELAY_MS = 50;
/** A visitor at the door says who it is within this time. */
const SILENCE_MS = 5000;
/** Name of the socket beside the folders of the attempts. */
const DOOR = 'announce';

/** An end of which nothing is known. */
const UNKNOWN_END: Omit<ProcessEnd, 'endedAtMs'> = {
  kind: 'lost',
  exitCode: null,
  signal: null,
  stopped: null,
  killed: false,
  failedStep: null,
  errno: null,
  startedAtMs: null,
  durationMs: null,
  cpuUserSeconds: null,
  cpuSystemSeconds: null,
  maxResidentBytes: null,
  stdoutBytes: 0,
  stderrBytes: 0,
  detail: null,
};

export interface ProcessExecutorOptions {
  /** The shim executable. */
  readonly shimPath: string;
  /** Null: shims are started by Node, which costs more time and blocks its loop. */
  readonly native: Native | null;
  readonly clock: Clock;
  readonly log: Log;
}

interface Attempt {
  readonly folder: string;
  readonly name: string;
  readonly events: ExecutionEvents;
  readonly bootId: string;
  phase: 'waiting' | 'attached' | 'looking' | 'ended' | 'detached';
  socket: Socket | null;
  shims: number;
  /** Of the shim that was started last; null while none is expected. */
  shimPid: number | null;
  shimGone: boolean;
  waitingSinceMs: number;
  stopGraceMs: number | null;
  toldStarted: boolean;
  stdoutBytes: number;
  stderrBytes: number;
}

export function createProcessExecutor(options: ProcessExecutorOptions): Executor {
  const { shimPath, native, clock, log } = options;
  const attempts = new Map<string, Attempt>();
  const doors = new Map<string, Door>();
  /** Visitors at a door that have not said who they are, and since when (monotonic ms). */
  const strangers = new Map<Socket, number>();
  let watch: Timer | null = null;
  let reaper: Timer | null = null;

  function newAttempt(folder: string, bootId: string, events: ExecutionEvents): Attempt {
    const attempt: Attempt = {
      folder,
      name: basename(folder),
      events,
      bootId,
      phase: 'looking',
      socket: null,
      shims: 0,
      shimPid: null,
      shimGone: false,
      waitingSinceMs: 0,
      stopGraceMs: null,
      toldStarted: false,
      stdoutBytes: 0,
      stderrBytes: 0,
    };
    attempts.set(folder, attempt);
    return attempt;
  }

  function executionOf(attempt: Attempt): Execution {
    return {
      stop(graceMs) {
        attempt.stopGraceMs = graceMs;
        if (attempt.phase === 'attached') attempt.socket?.write(`stop ${graceMs}\n`);
      },
      detach() {
        if (attempt.phase === 'ended') return;
        attempt.phase = 'detached';
        attempts.delete(attempt.folder);
        attempt.socket?.destroy();
      },
    };
  }

  function tellStarted(attempt: Attempt, pid: number, startedAtMs: number): void {
    if (attempt.toldStarted) return;
    attempt.toldStarted = true;
    attempt.events.started(pid, startedAtMs);
  }

  function tellOutput(attempt: Attempt, stdoutBytes: number, stderrBytes: number): void {
    if (stdoutBytes === attempt.stdoutBytes && stderrBytes === attempt.stderrBytes) return;
    attempt.stdoutBytes = stdoutBytes;
    attempt.stderrBytes = stderrBytes;
    attempt.events.output(stdoutBytes, stderrBytes);
  }

  function end(attempt: Attempt, ended: ProcessEnd): void {
    if (attempt.phase === 'ended' || attempt.phase === 'detached') return;
    attempt.phase = 'ended';
    attempts.delete(attempt.folder);
    attempt.socket?.destroy();
    attempt.socket = null;
    reapSoon();
    tellOutput(attempt, ended.stdoutBytes, ended.stderrBytes);
    attempt.events.ended(ended);
  }

  /** Ends the attempt by its record, if there is one. */
  function endByRecord(attempt: Attempt): boolean {
    const ended = readEnd(attempt.folder);
    if (ended === null) return false;
    if (!attempt.toldStarted && ended.startedAtMs !== null) {
      const started = readStarted(attempt.folder);
      if (started !== null) tellStarted(attempt, started.pid, ended.startedAtMs);
    }
    end(attempt, ended);
    return true;
  }

  function endWithoutRecord(
    attempt: Attempt,
    kind: 'failedToStart' | 'lost',
    what: Partial<ProcessEnd>,
  ): void {
    const started = kind === 'lost' ? readStarted(attempt.folder) : null;
    if (started !== null) tellStarted(attempt, started.pid, started.startedAtMs);
    const startedAtMs = started?.startedAtMs ?? null;
    end(attempt, {
      ...UNKNOWN_END,
      ...storedBytes(attempt.folder),
      kind,
      startedAtMs,
      endedAtMs: clock.wallMs(),
      ...what,
    });
  }

  /** Gives an attempt up: never begun if that can be made certain, else lost. */
  function giveUp(attempt: Attempt, step: string, errno: string | null, detail: string): void {
    if (claimNeverStarted(attempt.folder))
      endWithoutRecord(attempt, 'failedToStart', { failedStep: step, errno });
    else endWithoutRecord(attempt, 'lost', { detail });
  }

  /** Runs a step for an attempt; what the system refuses ends that attempt, not the agent. */
  function guarded(attempt: Attempt, step: () => void): void {
    try {
      step();
    } catch (error) {
      if (errnoOf(error) === null) throw error;
      log.error({ err: error, folder: attempt.folder }, 'the folder of an attempt cannot be used');
      end(attempt, {
        ...UNKNOWN_END,
        endedAtMs: clock.wallMs(),
        detail: `its folder cannot be used: ${describeError(error)}`,
      });
    }
  }

  function startShim(attempt: Attempt): void {
    attempt.phase = 'waiting';
    attempt.shims += 1;
    attempt.waitingSinceMs = clock.monotonicMs();
    attempt.shimGone = false;
    attempt.shimPid = null;
    watch ??= every(clock, WATCH_PERIOD_MS, look);
    const argv = [shimPath, attempt.folder, attempt.bootId];
    if (native !== null) {
      const pid = native.spawn(shimPath, argv, []);
      if (pid > 0) attempt.shimPid = pid;
      else giveUpLater(attempt, getSystemErrorName(pid));
      return;
    }
    const child = nodeSpawn(shimPath, argv.slice(1), { detached: true, stdio: 'ignore', env: {}, cwd: '/' });
    child.on('error', (error) => giveUpLater(attempt, errnoOf(error) ?? 'EIO'));
    child.on('exit', () => {
      attempt.shimGone = true;
    });
    child.unref();
  }

  function giveUpLater(attempt: Attempt, errno: string): void {
    queueMicrotask(() => {
      if (attempt.phase !== 'waiting') return;
      guarded(attempt, () =>
        giveUp(attempt, 'shim', errno, `its shim was killed, and no new one could be started (${errno})`),
      );
    });
  }

  /** Looks after an attempt that nobody speaks for. */
  function find(attempt: Attempt): void {
    if (attempt.phase === 'ended' || attempt.phase === 'detached') return;
    attempt.phase = 'looking';
    if (endByRecord(attempt)) return;
    connectToShim(
      attempt.folder,
      (socket) => {
        if (attempt.phase !== 'looking') return void socket.destroy();
        attach(attempt, socket);
        readLines(socket, (line) => take(attempt, socket, line));
      },
      (errno) => {
        if (attempt.phase !== 'looking') return;
        if (errno === 'EAGAIN') clock.after(LOOK_AGAIN_MS, () => guarded(attempt, () => find(attempt)));
        else
          guarded(attempt, () => {
            if (endByRecord(attempt)) return;
            if (attempt.shims > 0 && !shimHasGone(attempt)) {
              // It is slow to come: a busy machine, or its door and ours both failed.
              attempt.phase = 'waiting';
              attempt.waitingSinceMs = clock.monotonicMs();
            } else if (attempt.shims < SHIMS_MAX) startShim(attempt);
            else
              giveUp(attempt, 'shim', null, `its shims are killed again and again (${attempt.shims} times)`);
          });
      },
    );
  }

  function attach(attempt: Attempt, socket: Socket): void {
    attempt.socket?.destroy();
    attempt.socket = socket;
    attempt.phase = 'attached';
    socket.on('error', (error) =>
      log.debug({ err: error, job: attempt.name }, 'connection to a shim failed'),
    );
    socket.on('close', () => {
      if (attempt.socket !== socket) return;
      attempt.socket = null;
      if (attempt.phase !== 'attached') return;
      log.warn({ job: attempt.name }, 'a shim has gone without recording an end');
      attempt.phase = 'looking';
      clock.after(LOOK_AGAIN_MS, () => guarded(attempt, () => find(attempt)));
    });
    if (attempt.stopGraceMs !== null) socket.write(`stop ${attempt.stopGraceMs}\n`);
  }

  function take(attempt: Attempt, socket: Socket, line: ShimLine): void {
    if (attempt.socket !== socket || attempt.phase !== 'attached') return;
    if (line.kind === 'started') tellStarted(attempt, line.pid, line.startedAtMs);
    else if (line.kind === 'output') tellOutput(attempt, line.stdoutBytes, line.stderrBytes);
    else if (line.kind === 'ended')
      guarded(attempt, () => {
        if (!endByRecord(attempt)) giveUp(attempt, 'shim', null, 'its end record cannot be read');
      });
  }

  /** A shim at the door: its first line says whose it is. */
  function welcome(parent: string, socket: Socket): void {
    strangers.set(socket, clock.monotonicMs());
    const forget = (): void => {
      strangers.delete(socket);
    };
    socket.on('error', forget);
    socket.on('close', forget);
    let attempt: Attempt | null = null;
    readLines(socket, (line) => {
      if (attempt !== null) return take(attempt, socket, line);
      const known = line.kind === 'hello' ? attempts.get(join(parent, line.name)) : undefined;
      forget();
      if (known === undefined || known.socket !== null) return void socket.destroy();
      attempt = known;
      attach(known, socket);
    });
  }

  function openDoorOf(folder: string): void {
    const parent = dirname(folder);
    if (doors.has(parent)) return;
    doors.set(
      parent,
      openDoor(join(parent, DOOR), (socket) => welcome(parent, socket), log),
    );
  }

  function shimHasGone(attempt: Attempt): boolean {
    if (attempt.shimPid === null) return attempt.shimGone;
    try {
      const text = readFileSync(`/proc/${attempt.shimPid}/stat`, 'latin1');
      return (
        text.charAt(text.lastIndexOf(')') + 2) === 'Z' ||
        !text.includes(`(${basename(shimPath).slice(0, 15)})`)
      );
    } catch {
      return true;
    }
  }

  /** Looks after shims that are expected, and closes the door on visitors that say nothing. */
  function look(): void {
    const nowMs = clock.monotonicMs();
    let expected = strangers.size;
    for (const [socket, sinceMs] of strangers) if (nowMs - sinceMs > SILENCE_MS) socket.destroy();
    for (const attempt of attempts.values()) {
      if (attempt.phase !== 'waiting') continue;
      expected += 1;
      if (nowMs - attempt.waitingSinceMs >= WATCH_PERIOD_MS) guarded(attempt, () => find(attempt));
    }
    if (expected > 0) return;
    watch?.cancel();
    watch = null;
  }

  function reapSoon(): void {
    if (native === null || reaper !== null) return;
    reaper = clock.after(REAP_DELAY_MS, () => {
      reaper = null;
      if (native.reap() > attempts.size) reapSoon();
    });
  }

  return {
    name: 'process',

    probe() {
      try {
        accessSync(shimPath, constants.X_OK);
        return null;
      } catch {
        return `the job shim is missing (${shimPath}): jobs cannot run; install g++ and run "npm run build"`;
      }
    },

    start(request, events) {
      const attempt = newAttempt(request.folder, request.bootId, events);
      try {
        openDoorOf(request.folder);
        writeFileSync(join(request.folder, shimFile.spec), specOf(request), { flag: 'wx', mode: 0o600 });
        startShim(attempt);
      } catch (error) {
        const errno = errnoOf(error);
        if (errno === null) throw error;
        if (errno === 'EEXIST') queueMicrotask(() => guarded(attempt, () => find(attempt)));
        else queueMicrotask(() => endWithoutRecord(attempt, 'failedToStart', { failedStep: 'spec', errno }));
      }
      return executionOf(attempt);
    },

    recover(request, events) {
      const attempt = newAttempt(request.folder, request.bootId, events);
      queueMicrotask(() => guarded(attempt, () => recover(attempt, request)));
      return executionOf(attempt);
    },

    close() {
      watch?.cancel();
      reaper?.cancel();
      watch = reaper = null;
      for (const door of doors.values()) door.close();
      doors.clear();
      for (const socket of strangers.keys()) socket.destroy();
    },
  };

  function recover(attempt: Attempt, request: RecoverRequest): void {
    if (attempt.phase !== 'looking' || endByRecord(attempt)) return;
    const started = readStarted(request.folder);
    const acceptedBootId = request.acceptedBootId ?? started?.bootId ?? request.bootId;
    if (acceptedBootId !== request.bootId) {
      // Whether it ever began cannot be told either: a power cut may have taken the record of its start.
      endWithoutRecord(attempt, 'lost', { detail: 'the host was restarted' });
      return;
    }
    openDoorOf(request.folder);
    if (request.start === null) {
      if (claimNeverStarted(request.folder)) {
        endWithoutRecord(attempt, 'failedToStart', { failedStep: 'claim' });
        return;
      }
    } else if (started === null) {
      // The last agent may have died while it wrote the order; a shim that has read the old one loses nothing.
      const temporary = join(request.folder, `${shimFile.spec}.tmp`);
      writeFileSync(temporary, specOf(request.start), { mode: 0o600 });
      renameSync(temporary, join(request.folder, shimFile.spec));
    }
    find(attempt);
  }
}

function specOf(request: StartRequest): Buffer {
  return encodeSpec(basename(request.folder), `../${DOOR}`, request);
}
