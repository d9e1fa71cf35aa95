// Limits that bite, and what the result says of them; an operator's minimum that a host does not reach.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Bed, createBed, until } from './bed.ts';
import { readJobs } from './job-view.ts';

const isRoot = process.getuid?.() === 0;
/** A hybrid host shows controllers of version 2 that are not there; only what is seen here counts. */
const canLimit =
  isRoot &&
  ['memory/memory.limit_in_bytes', 'pids/cgroup.procs', 'cpu/cpu.shares'].every((file) =>
    existsSync(join('/sys/fs/cgroup', file)),
  );

interface Result {
  readonly state: string;
  readonly reason: string;
  readonly result: {
    readonly cause: string;
    readonly limits: Readonly<Record<string, string>>;
    readonly outOfMemory: { readonly kills: number } | null;
    readonly gaps: readonly { readonly fromByte: number; readonly toByte: number }[];
    readonly usage: Readonly<
      Record<
        'durationMs' | 'cpuUserSeconds' | 'cpuSystemSeconds' | 'memoryPeakBytes' | 'processesPeak',
        number | null
      >
    >;
  };
}

let bed: Bed;
beforeAll(() => {
  bed = createBed();
});
afterAll(() => bed.close());

const lastJob = async (): Promise<Result> => (await readJobs(bed))[0] as unknown as Result;

describe.skipIf(!canLimit)('a job at its limit', () => {
  beforeAll(async () => {
    await bed.start(['up', '--node-cpus', '8']);
  });

  test('of memory is killed by the kernel and says so, with limit, peak and mechanism', async () => {
    const end = await bed.run(['run', '--memory', '48MiB', '--', 'tail', '/dev/zero']);
    expect(end.code).toBe(137);
    const job = await lastJob();
    expect(job).toMatchObject({
      state: 'OUT_OF_MEMORY',
      result: {
        endKind: 'outOfMemory',
        signal: 9,
        limits: { memory: 'cgroup-v1' },
        outOfMemory: { kills: 1 },
      },
    });
    expect(job.reason).toMatch(
      /^out of memory: the kernel killed a process of it for memory \(it used up to 4\d\.\d MiB, its limit was 48\.0 MiB, held by cgroup-v1, first noticed at 2/,
    );
    const peak = job.result.usage.memoryPeakBytes ?? 0;
    expect(peak).toBeGreaterThan(40 * 1024 ** 2);
    expect(peak).toBeLessThanOrEqual(48 * 1024 ** 2);
  });

  test('of memory in a child only goes on, and the kill is told all the same', async () => {
    const end = await bed.run(['run', '--memory', '48MiB', '--', 'sh', '-c', 'tail /dev/zero; echo went on']);
    expect(end).toMatchObject({ code: 0, stdout: 'went on\n' });
    expect(await lastJob()).toMatchObject({
      state: 'COMPLETED',
      reason: expect.stringContaining('the kernel killed a process of it for memory'),
      result: { outOfMemory: { kills: 1 } },
    });
  });

  test('counts what it writes to its own /tmp as its memory', async () => {
    await bed.run([
      'run',
      '--memory',
      '48MiB',
      '--',
      'dd',
      'if=/dev/zero',
      'of=/tmp/big',
      'bs=1M',
      'count=100',
    ]);
    expect(await lastJob()).toMatchObject({ state: 'OUT_OF_MEMORY' });
  });

  test('of processes cannot start more, a fork bomb included, and its tree ends with it', async () => {
    const bomb = 'bomb() { bomb | bomb & }; bomb 2>/dev/null; sleep 1; echo still here';
    const end = await bed.run(['run', '--processes', '50', '--time-limit', '20s', '--', 'bash', '-c', bomb]);
    expect(end.stdout).toMatch(/^(still here\n)?$/);
    const job = await lastJob();
    expect(job.result.limits.processes).toBe('cgroup-v1');
    expect(job.result.usage.processesPeak ?? 0).toBeGreaterThan(10);
    expect(job.result.usage.processesPeak ?? 999).toBeLessThanOrEqual(50);
    // The agent and other jobs work on.
    expect((await bed.run(['run', '--', 'echo', 'fine'])).stdout).toBe('fine\n');
  });

  test('of CPUs gets no more than its share', async () => {
    const spin = 'while :; do :; done & while :; do :; done';
    await bed.run(['run', '--cpus', '0.5', '--time-limit', '2s', '--', 'sh', '-c', spin]);
    const { result } = await lastJob();
    const { cpuUserSeconds, cpuSystemSeconds, durationMs } = result.usage;
    const share = ((cpuUserSeconds ?? 9) + (cpuSystemSeconds ?? 9)) / ((durationMs ?? 1) / 1000);
    expect(result.limits.cpus).toBe('cgroup-v1');
    expect(share).toBeLessThan(0.75);
  });

  test('of output keeps the beginning and the end, and tells the gap', async () => {
    const end = await bed.run([
      'run',
      '--output-quota',
      '100KiB',
      '--',
      'sh',
      '-c',
      'seq 1 1000000; echo last',
    ]);
    expect(end.stdout.slice(0, 6), end.stderr).toBe('1\n2\n3\n');
    expect(end.stdout.slice(-13)).toBe('1000000\nlast\n');
    const { reason, result } = await lastJob();
    expect(reason).toMatch(/^exited with code 0; \d\.\d\d MiB of stdout were cut by its quota of 100 KiB$/);
    expect(result.gaps).toHaveLength(1);
    expect(result.limits.output).toBe('shim');
  });

  test('leaves no control group behind', async () => {
    const { stdout } = await bed.run(['jobs', '-o', 'json']);
    for (const { id } of (JSON.parse(stdout) as { jobs: { id: string }[] }).jobs)
      for (const controller of ['memory', 'pids', 'cpu', 'cpuacct', 'unified'])
        await until(
          `${controller} has no group of ${id}`,
          () => !existsSync(`/sys/fs/cgroup/${controller}/flopd.${id}.1`),
        );
  });
});

test('a node whose operator requires a sandbox that it lacks refuses jobs, and says it everywhere', async () => {
  const strict = createBed();
  try {
    const environment = { PATH: '/nonexistent', FLOPD_JOBS_SANDBOX: 'require' };
    const up = await strict.start(['up'], { environment });
    const note = /note: .*no jobs through executor process.*requires a sandbox.*install bubblewrap/;
    await until('the note', () => note.test(up.stdout()));
    const job = strict.spawn(['run', '--', 'true']);
    const end = await job.finished();
    expect(end.code).not.toBe(0);
    expect(end.stderr).toMatch(/JOB_SANDBOX_MISSING.*bubblewrap is not here/);
    const doctor = await strict.run(['doctor'], { environment });
    expect(doctor.code).toBe(2);
    expect(doctor.stdout).toMatch(/failure\s+sandbox: .*requires a sandbox/);
  } finally {
    await strict.close();
  }
});
