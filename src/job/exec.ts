// Commands beside running jobs (`flopd exec`): who may have how many, how much of their output is under way, and when
// one that nobody uses ends. Nothing of it is on disk: they end with their job, with their connection, or with this
// agent.
import type { Clock, Timer } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import {
  EXEC_INPUT_WINDOW_BYTES,
  EXEC_OUTPUT_WINDOW_BYTES,
  type Exec,
  type ExecEnd,
  type ExecEvents,
  type ExecOrder,
  execPieces,
} from '../protocol/exec.ts';
import type { Attempt } from './book.ts';
import { ENTER_FRAME_BYTES_MAX } from './executor/enter.ts';
import type { EnterEnd, Entered } from './executor/executor.ts';

export const MAX_EXECS_PER_JOB = 8;
export const MAX_EXECS_PER_NODE = 16;
/** Output under way above which no more is read: what is read already may be a whole frame and a piece of another. */
const PAUSE_BYTES = EXEC_OUTPUT_WINDOW_BYTES - 2 * ENTER_FRAME_BYTES_MAX;
/** One that has neither said nor been told anything for so long is ended. */
export const EXEC_IDLE_MS = 4 * 3600 * 1000;

export interface Execs {
  /**
   * Runs it; a refusal comes through `events.ended` with its code, never before this returns. `untilMs` (wall clock):
   * until when a copy of the signed order is good; null for one of version 1, which has no name to be kept. `decided` is
   * told, before this returns, why it is refused, or null.
   */
  start(
    order: ExecOrder,
    events: ExecEvents,
    untilMs?: number | null,
    decided?: (code: string | null) => void,
  ): Exec;
  /** Ends all of them. */
  close(): void;
}

export interface ExecsOptions {
  readonly find: (jobId: string, epoch: number) => Attempt | null;
  /** Whether no signed order for this exec was carried out before; from now on one was. */
  readonly isFirst?: (execId: string, untilMs: number) => boolean;
  readonly clock: Clock;
  readonly log: Log;
}

interface Running {
  readonly jobId: string;
  readonly entered: () => Entered | null;
  readonly end: (end: ExecEnd) => void;
}

export function createExecs({ find, isFirst, clock, log }: ExecsOptions): Execs {
  const running = new Set<Running>();

  /** Why it is refused, or null. */
  function refusal(order: ExecOrder, attempt: Attempt | null): ExecEnd | null {
    if (attempt === null || attempt.phase !== 'running' || attempt.execution === null)
      return failed('EXEC_JOB_NOT_RUNNING', `${order.jobId} does not run on this node`);
    if (attempt.execution.enter === undefined)
      return failed(
        'EXEC_UNSUPPORTED',
        `the executor "${attempt.order?.spec.executor ?? 'process'}" runs no commands beside a job`,
      );
    if (running.size >= MAX_EXECS_PER_NODE)
      return failed('EXEC_TOO_MANY', `${MAX_EXECS_PER_NODE} commands run beside jobs of this node already`);
    const ofJob = [...running].filter((one) => one.jobId === order.jobId).length;
    if (ofJob >= MAX_EXECS_PER_JOB)
      return failed('EXEC_TOO_MANY', `${MAX_EXECS_PER_JOB} commands run beside this job already`);
    return null;
  }

  function repetition(execId: string, untilMs: number | null): ExecEnd | null {
    if (untilMs === null || isFirst?.(execId, untilMs) !== false) return null;
    return failed('ORDER_REPEATED', 'this command was carried out before');
  }

  function start(
    order: ExecOrder,
    events: ExecEvents,
    untilMs: number | null = null,
    decided: (code: string | null) => void = () => {},
  ): Exec {
    const { jobId, epoch, execId } = order;
    const attempt = find(jobId, epoch);
    const refused = repetition(execId, untilMs) ?? refusal(order, attempt);
    const facts = { audit: 'exec', jobId, epoch, execId, by: order.by, program: order.command[0] };
    log.info({ ...facts, refused: refused?.code ?? null }, 'a command beside a job was asked for');
    decided(refused?.code ?? null);
    const enter = attempt?.execution?.enter;
    if (refused !== null || enter === undefined) {
      queueMicrotask(() => events.ended(refused ?? failed('EXEC_UNSUPPORTED', 'it cannot be run')));
      return { input() {}, resize() {}, signal() {}, outputTaken() {}, close() {} };
    }

    let isOver = false;
    let untakenBytes = 0;
    let untakenInputBytes = 0;
    let isPaused = false;
    let idle: Timer = clock.after(EXEC_IDLE_MS, onIdle);
    const one: Running = { jobId, entered: () => entered, end };
    running.add(one);

    function used(): void {
      idle.cancel();
      idle = clock.after(EXEC_IDLE_MS, onIdle);
    }

    function onIdle(): void {
      entered.close();
      end(failed('EXEC_IDLE', `nothing came or went for ${EXEC_IDLE_MS / 3600_000} hours`));
    }

    function leave(): boolean {
      if (isOver) return false;
      isOver = true;
      idle.cancel();
      running.delete(one);
      return true;
    }

    function end(how: ExecEnd): void {
      if (!leave()) return;
      const { exitCode, signal, code } = how;
      log.info({ jobId, epoch, execId, exitCode, signal, code }, 'a command beside a job has ended');
      events.ended(how);
    }

    const entered = enter(
      {
        command: order.command,
        terminal: order.terminal,
        environment: order.terminalType === null ? {} : { TERM: order.terminalType },
      },
      {
        started: (pid) => events.started(pid),
        output(stream, bytes) {
          used();
          untakenBytes += bytes.length;
          if (!isPaused && untakenBytes > PAUSE_BYTES) {
            isPaused = true;
            entered.pause();
          }
          for (const piece of execPieces(bytes)) events.output(stream, piece);
        },
        inputTaken(bytes) {
          used();
          const taken = Math.min(bytes, untakenInputBytes);
          untakenInputBytes -= taken;
          if (taken > 0) events.inputTaken(taken);
        },
        ended: (how) => end(endOf(how)),
      },
    );

    return {
      input(bytes) {
        if (isOver) return;
        used();
        untakenInputBytes += bytes.length;
        if (untakenInputBytes > EXEC_INPUT_WINDOW_BYTES) {
          entered.close();
          end(failed('EXEC_WINDOW', 'more input came than was asked for'));
        } else entered.input(bytes);
      },
      resize: (rows, columns) => entered.resize(rows, columns),
      signal(signal) {
        used();
        entered.signal(signal);
      },
      outputTaken(bytes) {
        untakenBytes = Math.max(0, untakenBytes - bytes);
        if (isPaused && untakenBytes <= PAUSE_BYTES) {
          isPaused = false;
          entered.resume();
        }
      },
      close() {
        if (!leave()) return;
        log.info({ jobId, epoch, execId }, 'a command beside a job is ended: its client has gone');
        entered.close();
      },
    };
  }

  return {
    start,
    close() {
      for (const one of [...running]) {
        one.entered()?.close();
        one.end(failed('EXEC_AGENT_STOPS', 'the agent of the node stops'));
      }
    },
  };
}

function failed(code: string, message: string): ExecEnd {
  return { exitCode: null, signal: null, code, message };
}

function endOf(end: EnterEnd): ExecEnd {
  switch (end.kind) {
    case 'exited':
      return { exitCode: end.exitCode, signal: null, code: null, message: null };
    case 'signalled':
      return { exitCode: null, signal: end.signal, code: null, message: null };
    case 'failedToStart':
      return failed(
        'EXEC_NOT_STARTED',
        `the command could not be started: ${end.step} failed (${end.errno})`,
      );
    case 'lost':
      return failed('EXEC_LOST', end.detail);
  }
}
