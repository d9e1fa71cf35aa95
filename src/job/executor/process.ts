// The process executor: each job is a child of its own shim (native/shim/), which outlives this agent. Here: write
// the order, have a shim started (nest.ts), listen to it, and find it again.
//
//   start    -> waiting            for the shim to announce itself at the door
//   waiting  -> attached           its hello
//   waiting  -> looking            it has said nothing for a while
//   attached -> looking            the connection closed without `ended`
//   looking  -> ended              an end record is there
//           -> attached            a shim answers at its own door
//           -> waiting             nobody does: start a shim again. The folder decides what that one does: nothing if
//                                  another holds it, run the job if it never began, or else end what is left of it
//                                  and record that its end is lost.
//   attached -> ended              `ended`, or `offered`: the disk refuses the end record, which is read from memory
//
// INVARIANT: nothing here decides whether a job may run; the record `started` does, which only one can create.
import { accessSync, constants, renameSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { type Clock, every, type Timer } from '../../base/clock.ts';
import { describeError, errnoOf } from '../../base/fault.ts';
import type { Log } from '../../base/log.ts';
import type { Native } from '../../native.ts';
import { enterJob } from './enter.ts';
import {
  type Execution,
  type ExecutionEvents,
  type Executor,
  type ProcessEnd,
  type RecoverRequest,
  type StartRequest,
  unknownEnd,
} from './executor.ts';
import { createNest, doorOf, type Nest } from './nest.ts';
import {
  claimNeverStarted,
  encodeSpec,
  readEnd,
  readOfferedEnd,
  readStarted,
  shimFile,
  storedBytes,
} from './shim-files.ts';
import { connectToShim, readLines, type ShimLine } from './shim-link.ts';

/** How often shims that have not announced themselves are looked after. */
const WATCH_PERIOD_MS = 500;
/** A shim announces itself within this time; each further one of the same attempt gets twice as long. */
const ANNOUNCE_MS = 1000;
/** Shims that are started for one attempt, before it is given up. */
const SHIMS_MAX = 6;
/** Wait before the next look at an attempt whose shim was lost or is too busy. */
const LOOK_AGAIN_MS = 20;

export interface ProcessExecutorOptions {
  /** The shim executable. */
  readonly shimPath: string;
  /** Null: the nest of shims is started by Node. */
  readonly native: Native | null;
  readonly clock: Clock;
  readonly log: Log;
  /** A process was started whose children shims will be. */
  readonly onHatched?: (pid: number) => void;
}

interface Attempt {
  readonly folder: string;
  readonly events: ExecutionEvents;
  readonly bootId: string;
  phase: 'waiting' | 'attached' | 'looking' | 'ended' | 'detached';
  socket: Socket | null;
  shims: number;
  waitingUntilMs: number;
  stopGraceMs: number | null;
  toldStarted: boolean;
  stdoutBytes: number;
  stderrBytes: number;
}

export function createProcessExecutor(options: ProcessExecutorOptions): Executor {
  const { shimPath, clock, log } = options;
  const attempts = new Map<string, Attempt>();
  const nests = new Map<string, Nest>();
  let watch: Timer | null = null;

  function newAttempt(folder: string, bootId: string, events: ExecutionEvents): Attempt {
    const attempt: Attempt = {
      folder,
      events,
      bootId,
      phase: 'looking',
      socket: null,
      shims: 0,
      waitingUntilMs: 0,
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
      enter: (request, events) =>
        enterJob(
          attempt.folder,
          request,
          events,
          (line) => {
            if (attempt.phase !== 'attached' || attempt.socket === null) return false;
            attempt.socket.write(line);
            return true;
          },
          clock,
        ),
      renew(leaseMs) {
        if (attempt.phase === 'attached') attempt.socket?.write(`lease ${leaseMs}\n`);
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
    tellOutput(attempt, ended.stdoutBytes, ended.stderrBytes);
    attempt.events.ended(ended);
  }

  /** Ends the attempt by its record, if there is one. */
  function endByRecord(attempt: Attempt, ended = readEnd(attempt.folder)): boolean {
    if (ended === null) return false;
    if (!attempt.toldStarted && ended.startedAtMs !== null) {
      const started = readStarted(attempt.folder);
      if (started !== null) tellStarted(attempt, started.pid, ended.startedAtMs);
    }
    end(attempt, ended);
    return true;
  }

  function endWithoutRecord(attempt: Attempt, what: Partial<ProcessEnd> & Pick<ProcessEnd, 'kind'>): void {
    const started = what.kind === 'lost' ? readStarted(attempt.folder) : null;
    if (started !== null) tellStarted(attempt, started.pid, started.startedAtMs);
    const startedAtMs = started?.startedAtMs ?? null;
    end(attempt, {
      ...unknownEnd,
      ...storedBytes(attempt.folder),
      startedAtMs,
      endedAtMs: clock.wallMs(),
      ...what,
    });
  }

  /** Gives an attempt up: never begun if that can be made certain, else lost. */
  function giveUp(attempt: Attempt, errno: string | null, detail: string): void {
    if (claimNeverStarted(attempt.folder))
      endWithoutRecord(attempt, { kind: 'failedToStart', failedStep: 'shim', errno, detail });
    else endWithoutRecord(attempt, { kind: 'lost', detail });
  }

  /** Runs a step for an attempt; what the system refuses ends that attempt, not the agent. */
  function guarded(attempt: Attempt, step: () => void): void {
    try {
      step();
    } catch (error) {
      if (errnoOf(error) === null) throw error;
      log.error({ err: error, folder: attempt.folder }, 'the folder of an attempt cannot be used');
      const detail = `its folder cannot be used: ${describeError(error)}`;
      end(attempt, { ...unknownEnd, endedAtMs: clock.wallMs(), detail });
    }
  }

  function nestOf(folder: string): Nest {
    const parent = dirname(folder);
    const known = nests.get(parent);
    if (known !== undefined) return known;
    const nest = createNest({
      ...options,
      folder: parent,
      onShim(name, socket) {
        const attempt = attempts.get(join(parent, name));
        if (attempt === undefined || attempt.socket !== null) return null;
        attach(attempt, socket);
        return (line) => take(attempt, socket, line);
      },
      onRefused(name, errno) {
        const attempt = attempts.get(join(parent, name));
        if (attempt?.phase === 'waiting')
          guarded(attempt, () =>
            giveUp(attempt, errno, `its shim was killed, and no new one could be started (${errno})`),
          );
      },
    });
    nests.set(parent, nest);
    return nest;
  }

  function startShim(attempt: Attempt): void {
    attempt.phase = 'waiting';
    attempt.waitingUntilMs = clock.monotonicMs() + ANNOUNCE_MS * 2 ** attempt.shims;
    attempt.shims += 1;
    watch ??= every(clock, WATCH_PERIOD_MS, look);
    nestOf(attempt.folder).start(basename(attempt.folder), attempt.bootId);
  }

  /** Looks after shims that are expected. */
  function look(): void {
    const nowMs = clock.monotonicMs();
    let expected = 0;
    for (const attempt of [...attempts.values()]) {
      if (attempt.phase !== 'waiting') continue;
      expected += 1;
      if (nowMs >= attempt.waitingUntilMs) guarded(attempt, () => find(attempt));
    }
    if (expected > 0) return;
    watch?.cancel();
    watch = null;
  }

  /** Looks after an attempt that nobody speaks for. */
  function find(attempt: Attempt): void {
    if (attempt.phase === 'ended' || attempt.phase === 'detached' || attempt.phase === 'attached') return;
    attempt.phase = 'looking';
    if (endByRecord(attempt)) return;
    connectToShim(
      attempt.folder,
      (socket) => {
        if (attempt.phase !== 'looking') {
          socket.destroy();
          return;
        }
        attach(attempt, socket);
        readLines(socket, (line) => take(attempt, socket, line));
      },
      (errno) => {
        if (attempt.phase !== 'looking') return;
        if (errno === 'EAGAIN') findLater(attempt);
        else
          guarded(attempt, () => {
            if (endByRecord(attempt)) return;
            if (attempt.shims < SHIMS_MAX) startShim(attempt);
            else giveUp(attempt, null, `its shims end without a word (${attempt.shims} were started)`);
          });
      },
    );
  }

  function findLater(attempt: Attempt): void {
    clock.after(LOOK_AGAIN_MS, () => guarded(attempt, () => find(attempt)));
  }

  /** Takes a connection to the attempt's shim; the caller feeds its lines to `take`. */
  function attach(attempt: Attempt, socket: Socket): void {
    attempt.socket = socket;
    attempt.phase = 'attached';
    socket.on('error', (error) =>
      log.debug({ err: error, folder: attempt.folder }, 'connection to a shim failed'),
    );
    socket.on('close', () => {
      if (attempt.socket !== socket) return;
      attempt.socket = null;
      if (attempt.phase !== 'attached') return;
      log.warn({ folder: attempt.folder }, 'a shim has gone without telling an end');
      attempt.phase = 'looking';
      findLater(attempt);
    });
    if (attempt.stopGraceMs !== null) socket.write(`stop ${attempt.stopGraceMs}\n`);
  }

  function take(attempt: Attempt, socket: Socket, line: ShimLine): void {
    if (attempt.socket !== socket || attempt.phase !== 'attached') return;
    if (line.kind === 'started') tellStarted(attempt, line.pid, line.startedAtMs);
    else if (line.kind === 'output') tellOutput(attempt, line.stdoutBytes, line.stderrBytes);
    else if (line.kind === 'offered')
      guarded(attempt, () => {
        log.error(
          { folder: attempt.folder },
          'the disk refuses the end record of a job; it is read from memory',
        );
        endByRecord(attempt, readOfferedEnd(line.path));
      });
    else if (line.kind === 'ended')
      guarded(attempt, () => {
        if (!endByRecord(attempt)) giveUp(attempt, null, 'its end record cannot be read');
      });
  }

  function recover(attempt: Attempt, request: RecoverRequest): void {
    if (attempt.phase !== 'looking' || endByRecord(attempt)) return;
    const started = readStarted(request.folder);
    const acceptedBootId = request.acceptedBootId ?? started?.bootId ?? request.bootId;
    if (acceptedBootId !== request.bootId) {
      // Whether it ever began cannot be told either: a power cut may have taken the record of its start.
      endWithoutRecord(attempt, { kind: 'lost', detail: 'the host was restarted' });
      return;
    }
    if (request.began === true && started === null) {
      const detail = 'it had begun, and its disk has lost the record of that';
      endWithoutRecord(attempt, { kind: 'lost', detail });
      return;
    }
    if (request.start === null) {
      if (claimNeverStarted(request.folder)) {
        endWithoutRecord(attempt, { kind: 'failedToStart', failedStep: 'claim' });
        return;
      }
    } else if (started === null) {
      // The last agent may have died while it wrote the order; a shim that has read the old one loses nothing.
      const temporary = join(request.folder, `${shimFile.spec}.tmp`);
      writeFileSync(temporary, specOf(request.start), { mode: 0o600 });
      renameSync(temporary, join(request.folder, shimFile.spec));
    }
    nestOf(request.folder); // the door is open before a shim is looked for
    find(attempt);
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
        writeFileSync(join(request.folder, shimFile.spec), specOf(request), { flag: 'wx', mode: 0o600 });
        startShim(attempt);
      } catch (error) {
        const errno = errnoOf(error);
        if (errno === null) throw error;
        if (errno === 'EEXIST') queueMicrotask(() => guarded(attempt, () => find(attempt)));
        else
          queueMicrotask(() =>
            endWithoutRecord(attempt, { kind: 'failedToStart', failedStep: 'spec', errno }),
          );
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
      watch = null;
      for (const nest of nests.values()) nest.close();
      nests.clear();
    },
  };
}

function specOf(request: StartRequest): Buffer {
  const name = basename(request.folder);
  return encodeSpec(name, `../${doorOf(name)}`, request);
}
