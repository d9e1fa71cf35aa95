// Commands beside jobs in the job room: who may have how many, what is under way, and how they end.
import { describe, expect, test } from 'vitest';
import type { Attempt } from '../../../src/job/book.ts';
import { createExecs, EXEC_IDLE_MS, MAX_EXECS_PER_JOB, MAX_EXECS_PER_NODE } from '../../../src/job/exec.ts';
import type { EnterEvents, EnterRequest } from '../../../src/job/executor/executor.ts';
import {
  EXEC_INPUT_WINDOW_BYTES,
  EXEC_OUTPUT_WINDOW_BYTES,
  type Exec,
  type ExecEnd,
  type ExecOrder,
  MAX_EXEC_CHUNK_BYTES,
} from '../../../src/protocol/exec.ts';
import { createHandClock, createKeptLog } from '../link/parts.ts';

interface Entering {
  readonly request: EnterRequest;
  readonly events: EnterEvents;
  readonly done: string[];
}

function bench() {
  const clock = createHandClock();
  const log = createKeptLog();
  const entering: Entering[] = [];
  const phases: Record<string, Attempt['phase']> = {
    'job-a': 'running',
    'job-b': 'running',
    'job-c': 'running',
    'job-over': 'ended',
  };
  const execs = createExecs({
    find(jobId) {
      const phase = phases[jobId];
      if (phase === undefined) return null;
      const enter = (request: EnterRequest, events: EnterEvents) => {
        const done: string[] = [];
        entering.push({ request, events, done });
        const record = (what: string) => (): void => void done.push(what);
        return {
          input: (bytes: Uint8Array) => void done.push(`input ${bytes.length}`),
          resize: (rows: number, columns: number) => void done.push(`resize ${rows} ${columns}`),
          signal: (signal: number) => void done.push(`signal ${signal}`),
          pause: record('pause'),
          resume: record('resume'),
          close: record('close'),
        };
      };
      const execution = jobId === 'job-c' ? {} : { enter };
      return { jobId, phase, execution, order: null } as unknown as Attempt;
    },
    clock,
    log,
  });
  function start(jobId: string, change: Partial<ExecOrder> = {}) {
    const ends: ExecEnd[] = [];
    const output: Uint8Array[] = [];
    const taken: number[] = [];
    const order: ExecOrder = {
      type: 'exec',
      execId: `exec-${entering.length}`,
      jobId,
      epoch: 1,
      command: ['cat', 'secret'],
      terminal: null,
      terminalType: null,
      by: 'user',
      ...change,
    };
    const exec: Exec = execs.start(order, {
      started() {},
      output: (_stream, bytes) => void output.push(bytes),
      inputTaken: (bytes) => void taken.push(bytes),
      ended: (end) => void ends.push(end),
    });
    return { exec, ends, output, taken };
  }
  return { clock, log, entering, execs, start };
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('commands beside jobs', () => {
  test.each([
    ['an unknown job', 'job-x', 'EXEC_JOB_NOT_RUNNING'],
    ['one that has ended', 'job-over', 'EXEC_JOB_NOT_RUNNING'],
    ['one whose executor cannot', 'job-c', 'EXEC_UNSUPPORTED'],
  ])('are refused for %s, later and once', async (_what, jobId, code) => {
    const { start } = bench();
    const { ends } = start(jobId);
    expect(ends).toEqual([]);
    await settled();
    expect(ends).toMatchObject([{ exitCode: null, code }]);
  });

  test('have a bound per job and per node, and room again when one has ended', async () => {
    const { start, entering } = bench();
    for (let at = 0; at < MAX_EXECS_PER_JOB; at += 1) start('job-a');
    const ninth = start('job-a');
    for (let at = MAX_EXECS_PER_JOB; at < MAX_EXECS_PER_NODE; at += 1) start('job-b');
    const last = start('job-b');
    await settled();
    expect([ninth.ends[0]?.code, last.ends[0]?.code]).toEqual(['EXEC_TOO_MANY', 'EXEC_TOO_MANY']);
    entering[0]?.events.ended({ kind: 'exited', exitCode: 0 });
    expect(start('job-b').ends).toEqual([]);
  });

  test('leave a line in the log with who, which job and the first word, never more of the command', () => {
    const { start, log } = bench();
    start('job-a');
    const [line] = log.lines;
    expect(line?.fields).toMatchObject({
      audit: 'exec',
      jobId: 'job-a',
      by: 'user',
      program: 'cat',
      refused: null,
    });
    expect(JSON.stringify(log.lines)).not.toContain('secret');
  });

  test('are read no further than the window of their output, in pieces that fit a frame', () => {
    const { start, entering } = bench();
    const { exec, output } = start('job-a');
    const [one] = entering;
    const frame = new Uint8Array(65_536);
    let told = 0;
    while (one !== undefined && !one.done.includes('pause')) {
      one.events.output('stdout', frame);
      told += frame.length;
    }
    // What has been read already may still come.
    one?.events.output('stdout', frame);
    expect(told + frame.length).toBeLessThanOrEqual(EXEC_OUTPUT_WINDOW_BYTES);
    expect(output.every((piece) => piece.length <= MAX_EXEC_CHUNK_BYTES)).toBe(true);
    exec.outputTaken(told + frame.length);
    expect(one?.done).toEqual(['pause', 'resume']);
  });

  test('give credit for what the command took, and end when more input comes than that', () => {
    const { start, entering } = bench();
    const { exec, ends, taken } = start('job-a');
    exec.input(new Uint8Array(EXEC_INPUT_WINDOW_BYTES));
    entering[0]?.events.inputTaken(1000);
    exec.input(new Uint8Array(1000));
    expect(taken).toEqual([1000]);
    expect(ends).toEqual([]);
    exec.input(new Uint8Array(1));
    expect(ends).toMatchObject([{ code: 'EXEC_WINDOW' }]);
    expect(entering[0]?.done.at(-1)).toBe('close');
    exec.input(new Uint8Array(1));
    expect(entering[0]?.done.at(-1)).toBe('close');
  });

  test('end when nobody uses them for hours, and not while something comes or goes', async () => {
    const { start, entering, clock } = bench();
    const { exec, ends } = start('job-a');
    await clock.advance(EXEC_IDLE_MS - 1);
    entering[0]?.events.output('stderr', new Uint8Array(1));
    await clock.advance(EXEC_IDLE_MS - 1);
    exec.input(new Uint8Array(1));
    await clock.advance(EXEC_IDLE_MS - 1);
    expect(ends).toEqual([]);
    await clock.advance(1);
    expect(ends).toMatchObject([{ code: 'EXEC_IDLE' }]);
    expect(entering[0]?.done.at(-1)).toBe('close');
  });

  test.each([
    [{ kind: 'exited', exitCode: 7 } as const, { exitCode: 7, signal: null, code: null }],
    [{ kind: 'signalled', signal: 9 } as const, { exitCode: null, signal: 9, code: null }],
    [
      { kind: 'failedToStart', step: 'exec', errno: 'ENOENT' } as const,
      { code: 'EXEC_NOT_STARTED', message: 'the command could not be started: exec failed (ENOENT)' },
    ],
    [{ kind: 'lost', detail: 'gone' } as const, { code: 'EXEC_LOST', message: 'gone' }],
  ])('tell %o as it is, once', (how, told) => {
    const { start, entering } = bench();
    const { ends } = start('job-a');
    entering[0]?.events.ended(how);
    entering[0]?.events.ended(how);
    expect(ends).toMatchObject([told]);
  });

  test('end with the agent, and say nothing when their client has gone', () => {
    const { start, execs, entering } = bench();
    const left = start('job-a');
    const stays = start('job-a');
    left.exec.close();
    execs.close();
    expect(left.ends).toEqual([]);
    expect(stays.ends).toMatchObject([{ code: 'EXEC_AGENT_STOPS' }]);
    expect(entering.map(({ done }) => done)).toEqual([['close'], ['close']]);
  });

  test('are given what was asked: terminal and its type', () => {
    const { start, entering } = bench();
    const { exec } = start('job-a', { terminal: { rows: 3, columns: 4 }, terminalType: 'vt100' });
    expect(entering[0]?.request).toEqual({
      command: ['cat', 'secret'],
      terminal: { rows: 3, columns: 4 },
      environment: { TERM: 'vt100' },
    });
    exec.resize(5, 6);
    exec.signal(15);
    expect(entering[0]?.done).toEqual(['resize 5 6', 'signal 15']);
  });
});
