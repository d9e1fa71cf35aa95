import { describe, expect, test } from 'vitest';
import type { Walled } from '../../../src/job/book.ts';
import type { ProcessEnd } from '../../../src/job/executor/executor.ts';
import { type SettleFacts, settleJob } from '../../../src/job/settle.ts';
import { jobResultSchema } from '../../../src/protocol/result.ts';
import { processEnd, startOrder } from './samples.ts';

const walled: Walled = {
  userId: 150,
  limits: { cpus: 'cgroup-v1', memory: 'cgroup-v1', processes: 'cgroup-v1' },
  isolation: { sandbox: 'bubblewrap', user: 'uid 150', devices: 'none' },
};
const alice = { by: 'alice', reason: 'enough', fault: null };
function settle(end: Partial<ProcessEnd>, more: Partial<SettleFacts> = {}) {
  const order = startOrder('job-1', 1, {
    command: ['nosuch', 'x'],
    timeLimitMs: 1000,
    graceMs: 10_000,
    resources: { memoryBytes: 64 * 1024 ** 2 },
    disconnect: { policy: 'stop', afterMs: 60_000 },
    checkpoint: { signal: 'SIGUSR1', beforeMs: 500 },
  });
  const energy = { absent: 'no power source' };
  const result = settleJob({
    jobId: 'job-1',
    epoch: 1,
    nodeId: 'node-1',
    order,
    end: processEnd(end),
    granted: null,
    walled,
    outputQuotaBytes: 1024 ** 2,
    stop: null,
    meter: null,
    energy,
    ...more,
  });
  jobResultSchema.parse(result);
  return result;
}
const signalled = (signal: number): Partial<ProcessEnd> => ({ kind: 'signalled', exitCode: null, signal });
const failed = (failedStep: string, errno: string | null): Partial<ProcessEnd> => ({
  kind: 'failedToStart',
  exitCode: null,
  failedStep,
  errno,
  startedAtMs: null,
  durationMs: null,
  cpuUserSeconds: null,
  cpuSystemSeconds: null,
  maxResidentBytes: null,
});

describe('settle', () => {
  test.each<[Partial<ProcessEnd>, SettleFacts['stop'], string, string, string | null, string]>([
    [{}, null, 'COMPLETED', 'exited', null, 'exited with code 0'],
    [{ exitCode: 7 }, null, 'FAILED', 'exited', null, 'exited with code 7'],
    [signalled(9), null, 'FAILED', 'signalled', null, 'killed by signal 9 (SIGKILL)'],
    [signalled(64), null, 'FAILED', 'signalled', null, 'killed by signal 64'],
    [
      { ...signalled(15), stopped: 'timeLimit' },
      null,
      'TIMEOUT',
      'timeLimit',
      'node',
      'stopped at its time limit of 1 s (SIGTERM)',
    ],
    [
      { ...signalled(9), stopped: 'timeLimit', killed: true },
      null,
      'TIMEOUT',
      'timeLimit',
      'node',
      'stopped at its time limit of 1 s (SIGTERM; SIGKILL after 10 s of grace)',
    ],
    [
      { stopped: 'timeLimit' },
      null,
      'TIMEOUT',
      'timeLimit',
      'node',
      'stopped at its time limit of 1 s (SIGTERM; it exited with code 0)',
    ],
    [
      { ...signalled(15), stopped: 'stop' },
      alice,
      'CANCELLED',
      'stopped',
      'alice',
      'cancelled by alice: enough (SIGTERM)',
    ],
    [
      { ...signalled(9), stopped: 'stop', killed: true },
      alice,
      'CANCELLED',
      'stopped',
      'alice',
      'cancelled by alice: enough (SIGTERM; SIGKILL after 10 s of grace)',
    ],
    [
      { stopped: 'stop' },
      alice,
      'CANCELLED',
      'stopped',
      'alice',
      'cancelled by alice: enough (SIGTERM; it exited with code 0)',
    ],
    // The stop came too late: the job keeps its own end.
    [{ exitCode: 0 }, alice, 'COMPLETED', 'exited', null, 'exited with code 0'],
    // The time limit was first; the stop order that followed changes nothing.
    [
      { ...signalled(15), stopped: 'timeLimit' },
      alice,
      'TIMEOUT',
      'timeLimit',
      'node',
      'stopped at its time limit of 1 s (SIGTERM)',
    ],
    [
      failed('exec', 'ENOENT'),
      null,
      'FAILED_TO_START',
      'failedToStart',
      null,
      'failed to start: "nosuch": no such file or directory (ENOENT)',
    ],
    [
      failed('exec', 'EACCES'),
      null,
      'FAILED_TO_START',
      'failedToStart',
      null,
      'failed to start: "nosuch": permission denied, or not executable (EACCES)',
    ],
    [
      failed('interpreter', 'ENOENT'),
      null,
      'FAILED_TO_START',
      'failedToStart',
      null,
      'failed to start: "nosuch": the interpreter that it names is missing (ENOENT)',
    ],
    [
      failed('chdir', 'ENOENT'),
      null,
      'FAILED_TO_START',
      'failedToStart',
      null,
      'failed to start: its workspace: no such file or directory (ENOENT)',
    ],
    [
      failed('fork', 'EAGAIN'),
      null,
      'FAILED_TO_START',
      'failedToStart',
      null,
      'failed to start: fork: too many processes (EAGAIN)',
    ],
    [
      failed('claim', null),
      null,
      'FAILED_TO_START',
      'failedToStart',
      null,
      'failed to start: its shim was killed before the program ran',
    ],
    [
      { ...failed('shim', null), detail: 'its shims end without a word (6 were started)' },
      null,
      'FAILED_TO_START',
      'failedToStart',
      null,
      'failed to start: the job shim could not be started: its shims end without a word (6 were started)',
    ],
    [
      failed('shim', null),
      alice,
      'CANCELLED',
      'stopped',
      'alice',
      'cancelled by alice before it started: enough',
    ],
    [
      failed('claim', null),
      alice,
      'CANCELLED',
      'stopped',
      'alice',
      'cancelled by alice before it started: enough',
    ],
    [
      { kind: 'lost', exitCode: null, detail: 'the host was restarted' },
      null,
      'LOST',
      'lost',
      null,
      'lost: the host was restarted',
    ],
    [{ kind: 'lost', exitCode: null, detail: 'x' }, alice, 'LOST', 'lost', null, 'lost: x'],
    [
      { detail: 'its last 5 bytes of output were not stored (ENOSPC)' },
      null,
      'COMPLETED',
      'exited',
      null,
      'exited with code 0; its last 5 bytes of output were not stored (ENOSPC)',
    ],
    [
      { ...signalled(15), stopped: 'lease' },
      null,
      'CANCELLED',
      'disconnected',
      'node',
      'stopped at 1970-01-01T00:00:03.000Z because its node had lost its scheduler for 60 s, as its disconnect policy asks (SIGTERM)',
    ],
    [
      { ...signalled(9), outOfMemory: { kills: 1, firstAtMs: 2000 }, memoryPeakBytes: 64 * 1024 ** 2 },
      null,
      'OUT_OF_MEMORY',
      'outOfMemory',
      null,
      'out of memory: the kernel killed a process of it for memory (it used up to 64.0 MiB, its limit was 64.0 MiB, held by cgroup-v1, first noticed at 1970-01-01T00:00:02.000Z)',
    ],
    [
      { ...signalled(9), outOfMemory: { kills: 3, firstAtMs: null }, memoryPeakBytes: 5 * 1024 ** 2 },
      null,
      'OUT_OF_MEMORY',
      'outOfMemory',
      null,
      'out of memory: the kernel killed 3 processes of it for memory (it used up to 5.00 MiB, its limit was 64.0 MiB, held by cgroup-v1, so it was the host that ran out)',
    ],
    // Somebody stopped it first: that is why it ended, and the rest is told besides.
    [
      { ...signalled(9), stopped: 'stop', outOfMemory: { kills: 1, firstAtMs: null } },
      alice,
      'CANCELLED',
      'stopped',
      'alice',
      'cancelled by alice: enough (SIGTERM); the kernel killed a process of it for memory (its limit was 64.0 MiB, held by cgroup-v1)',
    ],
    [
      { exitCode: 1, outOfMemory: { kills: 1, firstAtMs: null } },
      null,
      'FAILED',
      'exited',
      null,
      'exited with code 1; the kernel killed a process of it for memory (its limit was 64.0 MiB, held by cgroup-v1)',
    ],
    [{ outOfMemory: { kills: 0, firstAtMs: null } }, null, 'COMPLETED', 'exited', null, 'exited with code 0'],
    [
      {
        gaps: [
          { stream: 'stdout', fromByte: 10, toByte: 10 + 3 * 1024 ** 3, reason: 'quota' },
          { stream: 'stderr', fromByte: 0, toByte: 5, reason: 'disk' },
          { stream: 'stderr', fromByte: 9, toByte: 12, reason: 'disk' },
        ],
      },
      null,
      'COMPLETED',
      'exited',
      null,
      'exited with code 0; 3.00 GiB of stdout were cut by its quota of 1.00 MiB, 8 B of stderr were lost: the disk of the node refused them',
    ],
    [
      { ...signalled(15), stopped: 'timeLimit', checkpointAtMs: 2500 },
      null,
      'TIMEOUT',
      'timeLimit',
      'node',
      'stopped at its time limit of 1 s (SIGTERM); it was sent its checkpoint signal SIGUSR1 at 1970-01-01T00:00:02.500Z',
    ],
    [
      { ...failed('sandbox', null), detail: 'bwrap: no permissions' },
      null,
      'FAILED_TO_START',
      'failedToStart',
      null,
      'failed to start: its sandbox could not be set up: bwrap: no permissions',
    ],
    [
      { ...failed('image', null), detail: 'image "x" is not here' },
      null,
      'FAILED_TO_START',
      'failedToStart',
      null,
      'failed to start: image "x" is not here',
    ],
  ])('%j stopped by %j is %s', (end, stop, state, endKind, stoppedBy, cause) => {
    expect(settle(end, { stop })).toMatchObject({ state, endKind, stoppedBy, cause });
  });

  test('what is not known is null with a reason, never zero', () => {
    const { usage, exitCode } = settle({
      kind: 'lost',
      exitCode: null,
      durationMs: null,
      cpuUserSeconds: null,
      cpuSystemSeconds: null,
      maxResidentBytes: null,
    });
    expect(exitCode).toBeNull();
    for (const [key, value] of Object.entries(usage)) {
      // Methods have the reason of their numbers, and a job that was given no devices held none.
      if (['absent', 'flopMethod', 'energyMethod', 'deviceSeconds'].includes(key)) continue;
      expect(value).toBeNull();
      expect(usage.absent[key]).toMatch(/\w/);
    }
  });

  test('achieved FLOPS are by the compute time that the job states, else by its duration', () => {
    const meter = { flop: 1e9, seconds: 0.5, problem: null };
    expect(settle({}, { meter }).usage).toMatchObject({ flop: 1e9, achievedFlops: 2e9, flopMethod: 'job' });
    expect(settle({}, { meter: { ...meter, seconds: null } }).usage.achievedFlops).toBe(5e8);
    const zero = settle({}, { meter: { ...meter, seconds: 0 } }).usage;
    expect(zero.achievedFlops).toBeNull();
    expect(zero.absent.achievedFlops).toContain('not known');
  });

  test('says why there are no FLOP, and no joules', () => {
    expect(settle({}).usage.absent).toMatchObject({
      flop: 'not reported by the job',
      energyJoules: 'no power source',
    });
    expect(settle({}, { meter: 'the meter file cannot be read (ELOOP)' }).usage.absent.flop).toContain(
      'ELOOP',
    );
    const devices = { flop: 6e12, method: 'gpm' } as const;
    expect(settle({}, { energy: { joules: 12, method: 'sum', devices } }).usage).toMatchObject({
      energyJoules: 12,
      energyMethod: 'sum',
      flop: 6e12,
      flopMethod: 'gpm',
    });
    // What the job counts itself goes before what its devices seem to have done.
    const own = { flop: 1e9, seconds: 0.5, problem: null };
    expect(settle({}, { meter: own, energy: { joules: 1, devices } }).usage).toMatchObject({
      flop: 1e9,
      flopMethod: 'job',
    });
    expect(settle({}, { energy: { joules: 1, devices: { absent: 'no rate' } } }).usage.absent.flop).toBe(
      'not reported by the job, and no rate',
    );
    expect(settle({}, { energy: { joules: 12 } }).usage).toMatchObject({ energyJoules: 12 });
    expect(settle({}, { meter: { flop: 1, seconds: 1, problem: '3 lines' } }).usage.absent.meter).toBe(
      '3 lines',
    );
  });

  test('names what held the limits and which walls stood, also when the kernel refused some', () => {
    const held = {
      cpus: 'cgroup-v1',
      memory: 'cgroup-v1',
      processes: 'cgroup-v1',
      timeLimit: 'shim',
      output: 'shim',
    };
    expect(settle({}).limits).toEqual(held);
    expect(settle({}).isolation).toEqual(walled.isolation);
    expect(settle({ refusedLimits: ['memory.limit_in_bytes: EBUSY'] }).limits).toEqual({
      ...held,
      memory: 'none (memory.limit_in_bytes: EBUSY)',
    });
    const unknown = { order: null, walled: null, outputQuotaBytes: null };
    expect(settle({}, unknown).limits).toEqual({ cpus: 'none', memory: 'none' });
    expect(settle({}, unknown).isolation).toEqual({});
  });

  test('fits its schema with the longest names and reasons there are', () => {
    const order = startOrder('job-1', 1, {
      command: ['\u{1F600}'.repeat(500)],
      workingDirectory: `/${'\u0001'.repeat(3000)}`,
    });
    const stop = { by: 'x'.repeat(128), reason: '\u{1F600}'.repeat(512), fault: null };
    for (const end of [
      failed('exec', 'ENOENT'),
      failed('chdir', 'ENOENT'),
      failed('claim', null),
      { stopped: 'stop' as const },
    ])
      expect(settle(end, { order, stop }).cause.length).toBeLessThanOrEqual(1024);
  });

  test('the same facts make the same bytes', () => {
    expect(JSON.stringify(settle({ exitCode: 3 }))).toBe(JSON.stringify(settle({ exitCode: 3 })));
  });
});
