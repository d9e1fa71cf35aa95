import { describe, expect, test } from 'vitest';
import {
  clientWords,
  decideContainerEnd,
  type EndFacts,
  type Inspected,
  parseInspected,
} from '../../../../src/job/executor/container-end.ts';
import { parseReport, type Report } from '../../../../src/job/executor/container-order.ts';
import { type ProcessEnd, unknownEnd } from '../../../../src/job/executor/executor.ts';

const client: ProcessEnd = {
  ...unknownEnd,
  kind: 'exited',
  exitCode: 0,
  startedAtMs: 1000,
  endedAtMs: 3000,
  durationMs: 2000,
  cpuUserSeconds: 9,
  maxResidentBytes: 99,
};
const report: Report = {
  kind: 'exited',
  exitCode: 7,
  signal: null,
  failedStep: null,
  errno: null,
  cpuUserSeconds: 1,
  cpuSystemSeconds: 2,
  maxResidentBytes: 4096,
  memoryPeakBytes: 8192,
  processesPeak: 3,
  outOfMemory: { kills: 0, firstAtMs: null },
  survivors: false,
};
const inspected: Inspected = { running: false, exitCode: 0, outOfMemory: false, error: '' };

function decide(facts: Partial<Omit<EndFacts, 'end'>> & { end?: Partial<ProcessEnd> }): ProcessEnd {
  const { end, ...rest } = facts;
  return decideContainerEnd({
    runtime: 'podman',
    hasRun: true,
    report: null,
    inspected,
    removed: true,
    words: '',
    ...rest,
    end: { ...client, ...end },
  });
}

describe('how a container job ended', () => {
  test('the report of the first process counts, with what it measured; times are the shim’s', () => {
    const end = decide({ report, end: { exitCode: 135 } });
    expect(end).toMatchObject({ kind: 'exited', exitCode: 7, cpuUserSeconds: 1, maxResidentBytes: 4096 });
    expect(end).toMatchObject({ startedAtMs: 1000, durationMs: 2000, memoryPeakBytes: 8192, detail: null });
  });

  test('a signal is one, though the client left with 128 and its number', () => {
    const killed = { ...report, kind: 'signalled' as const, exitCode: null, signal: 11 };
    expect(decide({ report: killed, end: { exitCode: 139 } })).toMatchObject({
      kind: 'signalled',
      exitCode: null,
      signal: 11,
    });
  });

  test('a program that could not be started tells its step and errno', () => {
    const failed = {
      ...report,
      kind: 'failedToStart' as const,
      exitCode: null,
      failedStep: 'exec',
      errno: 'EACCES',
    };
    expect(decide({ report: failed, hasRun: false, end: { exitCode: 125 } })).toMatchObject({
      kind: 'failedToStart',
      failedStep: 'exec',
      errno: 'EACCES',
      startedAtMs: null,
    });
  });

  test.each([125, 126, 127, 1])(
    'a client that left with %i before the program ran failed to start it',
    (exitCode) => {
      const words =
        'Error: crun: the requested cgroup controller `pids` is not available: OCI runtime error\n';
      expect(decide({ hasRun: false, inspected: null, words, end: { exitCode } })).toMatchObject({
        kind: 'failedToStart',
        failedStep: 'container',
        errno: null,
        detail: 'podman: crun: the requested cgroup controller `pids` is not available: OCI runtime error',
      });
    },
  );

  test('killed after its grace is killed, whatever nobody could report', () => {
    const end = { kind: 'signalled', exitCode: null, signal: 9, stopped: 'timeLimit', killed: true } as const;
    expect(decide({ end })).toMatchObject({ kind: 'signalled', signal: 9, stopped: 'timeLimit' });
  });

  test('stopped with a client that left before it passed the order on is killed by the removal', () => {
    const end = { kind: 'signalled', exitCode: null, signal: 15, stopped: 'stop', killed: false } as const;
    expect(decide({ end })).toMatchObject({ kind: 'signalled', signal: 9, stopped: 'stop', killed: true });
  });

  test('stopped before the program ran is stopped', () => {
    expect(decide({ hasRun: false, end: { exitCode: 1, stopped: 'stop' } })).toMatchObject({
      kind: 'signalled',
      signal: 15,
      stopped: 'stop',
    });
  });

  test('out of memory by the runtime’s word, where the first process was killed too', () => {
    expect(
      decide({ inspected: { ...inspected, exitCode: 137, outOfMemory: true }, end: { exitCode: 137 } }),
    ).toMatchObject({ kind: 'signalled', signal: 9, outOfMemory: { kills: 1 } });
  });

  test('a client that was killed loses its job, and says so', () => {
    const end = decide({
      inspected: { ...inspected, running: true },
      end: { kind: 'signalled', exitCode: null, signal: 9 },
    });
    expect(end).toMatchObject({ kind: 'lost', exitCode: null, signal: null });
    expect(end.detail).toBe('its podman client was killed by SIGKILL, and its container ended with it');
  });

  test('a container that was ended from outside tells the signal', () => {
    expect(decide({ inspected: { ...inspected, exitCode: 137 }, end: { exitCode: 137 } })).toMatchObject({
      kind: 'signalled',
      signal: 9,
      detail: 'its container was ended from outside',
    });
  });

  test('lost is never success, whatever the program did by then', () => {
    const end = decide({
      report: { ...report, exitCode: 0 },
      end: { kind: 'lost', exitCode: null, detail: 'x' },
    });
    expect(end).toMatchObject({ kind: 'lost', exitCode: null });
    expect(end.detail).toBe('x; by then its program had exited with code 0');
  });

  test('a container that stays is told', () => {
    expect(decide({ report, removed: false }).detail).toBe('its container could not be removed by podman');
  });

  test('a runtime that was never run is not the program', () => {
    const end = { kind: 'failedToStart', failedStep: 'exec', errno: 'ENOENT', exitCode: null } as const;
    expect(decide({ end })).toMatchObject({
      failedStep: 'container',
      errno: null,
      detail: 'podman could not be run (ENOENT)',
    });
  });
});

describe('what runtimes say', () => {
  test('a state as podman and docker print it', () => {
    const text = '{"Status":"exited","Running":false,"OOMKilled":true,"ExitCode":137,"Error":""}\n';
    expect(parseInspected(text)).toEqual({ running: false, exitCode: 137, outOfMemory: true, error: '' });
  });

  test.each(['', 'null', '[]', '{"a":1}', '{"Running":', 'Error: no such container'])('not %j', (text) => {
    expect(parseInspected(text)).toBeNull();
  });

  test('the last line, without prefixes, hints and control characters', () => {
    expect(clientWords('WARN x\nError: image\u001b[31m not known\n')).toBe('image [31m not known');
    expect(
      clientWords(
        "docker: Error response from daemon: Conflict.\n\nRun 'docker run --help' for more information\n",
      ),
    ).toBe('Conflict.');
    expect(clientWords('x'.repeat(1000)).length).toBeLessThan(420);
    expect(clientWords('')).toBe('');
  });
});

describe('the report of the first process', () => {
  const text = (fields: Record<string, string | number>): string =>
    `${Object.entries({ 'flopd-report': 1, ...fields })
      .map(([key, value]) => `${key}=${value}\n`)
      .join('')}complete=1\n`;

  test('absent numbers are null, not 0', () => {
    const read = parseReport(text({ kind: 'exited', exitCode: 0, outOfMemoryKills: -1, processesPeak: -1 }));
    expect(read).toMatchObject({
      exitCode: 0,
      outOfMemory: null,
      processesPeak: null,
      memoryPeakBytes: null,
    });
  });

  test.each([
    ['cut off', 'flopd-report=1\nkind=exited\nexitCode=0\n'],
    ['foreign', 'flopd-end=1\nkind=exited\nexitCode=0\ncomplete=1\n'],
    ['without a code', text({ kind: 'exited', exitCode: -1 })],
    ['with a code that none has', text({ kind: 'exited', exitCode: 256 })],
    ['with a signal that none has', text({ kind: 'signalled', signal: 65 })],
    ['of an unknown kind', text({ kind: 'vanished', exitCode: 0 })],
  ])('%s it is none', (_, bytes) => {
    expect(parseReport(bytes)).toBeNull();
  });
});
