import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Bed, createBed, isAlive, processesOfJob, until } from './bed.ts';
import { readJob, readJobs, submit, untilState } from './job-view.ts';

let bed: Bed;
beforeAll(async () => {
  bed = createBed();
  await bed.start(['up', '--node-cpus', '2']);
});
afterAll(() => bed.close());

const lastJob = async () => {
  const [job] = await readJobs(bed);
  if (job === undefined) throw new Error('no job is known');
  return job;
};

describe('flopd run', () => {
  test('keeps both streams apart and ends with the job', async () => {
    const end = await bed.run(['run', '--', 'sh', '-c', 'echo hi; echo err >&2; exit 7']);
    expect(end).toMatchObject({ code: 7, stdout: 'hi\n', stderr: 'err\n' });
  });

  test('shows output while the job still runs', async () => {
    const go = join(bed.folder, 'go-on');
    const job = bed.spawn([
      'run',
      '--',
      'sh',
      '-c',
      `echo early; while [ ! -e ${go} ]; do sleep 0.05; done; echo late`,
    ]);
    await until('the early line', () => job.stdout() === 'early\n');
    expect(job.process.exitCode).toBeNull();
    writeFileSync(go, '');
    expect(await job.finished()).toMatchObject({ code: 0, stdout: 'early\nlate\n' });
  });

  test('carries two megabytes through both streams without a byte lost', async () => {
    const end = await bed.run([
      'run',
      '--',
      'sh',
      '-c',
      'seq 1 200000; seq 1 100000 >&2; printf "no newline"',
    ]);
    const numbers = (count: number) => Array.from({ length: count }, (_, i) => `${i + 1}\n`).join('');
    const digest = (text: string) => createHash('sha256').update(text).digest('hex');
    expect(end.code).toBe(0);
    expect(digest(end.stdout)).toBe(digest(`${numbers(200_000)}no newline`));
    expect(digest(end.stderr)).toBe(digest(numbers(100_000)));
  });

  test('hands arguments, environment and an empty workspace on as they are', async () => {
    const words = ['a b', '', '$HOME', `'"\\`, 'ünï-字', '--time-limit', '-x'];
    const end = await bed.run([
      'run',
      '--env',
      'GREETING=good day',
      '--',
      'sh',
      '-c',
      'printf "%s|" "$GREETING" "$@"; ls -A',
      'sh',
      ...words,
    ]);
    expect(end.stdout).toBe(`good day|${words.join('|')}|`);
    expect(end.code).toBe(0);
  });

  test('exits 128 + n when a signal ends the job', async () => {
    const end = await bed.run(['run', '--', 'sh', '-c', 'kill -9 $$']);
    expect(end.code).toBe(137);
    expect((await lastJob()).result).toMatchObject({ endKind: 'signalled', signal: 9, exitCode: null });
  });

  test('says that a command is missing, and that nothing was started', async () => {
    const end = await bed.run(['run', '--', 'no-such-command-anywhere']);
    expect(end).toMatchObject({ code: 127, stdout: '' });
    expect(end.stderr).toMatch(/failed to start/);
    expect(end.stderr).toContain('no-such-command-anywhere');
    expect(await lastJob()).toMatchObject({ state: 'FAILED_TO_START', startedAt: null });
  });

  test('tells a program that may not be executed from a missing one', async () => {
    const path = join(bed.folder, 'not-executable');
    writeFileSync(path, 'x', { mode: 0o600 });
    const end = await bed.run(['run', '--', path]);
    expect(end.code).toBe(126);
    expect((await lastJob()).state).toBe('FAILED_TO_START');
  });

  test('a job that itself exits 127 has failed, not failed to start', async () => {
    expect((await bed.run(['run', '--', 'sh', '-c', 'exit 127'])).code).toBe(127);
    expect(await lastJob()).toMatchObject({ state: 'FAILED', result: { endKind: 'exited', exitCode: 127 } });
  });

  test('stops a job at its time limit', async () => {
    const end = await bed.run(['run', '--time-limit', '1s', '--', 'sleep', '60']);
    expect(end.code).not.toBe(0);
    expect(end.stderr).toContain('TIMEOUT');
    const job = await lastJob();
    expect(job).toMatchObject({ state: 'TIMEOUT', result: { endKind: 'timeLimit' } });
    expect(job.result?.usage.durationMs).toBeGreaterThan(950);
    // Its limit, not its end by itself: no figure on a busy machine.
    expect(job.result?.usage.durationMs).toBeLessThan(50_000);
  });

  test('Ctrl-C cancels, says so, and leaves no process', async () => {
    const running = join(bed.folder, 'sleeper');
    const job = bed.spawn(['run', '--', 'sh', '-c', `(sleep 300 & echo >${running}; wait); true`]);
    await until('the sleeper', () => existsSync(running));
    const pids = processesOfJob((await lastJob()).id);
    expect(pids.length).toBeGreaterThanOrEqual(3);
    job.kill('SIGINT');
    const end = await job.finished();
    expect(end.code).toBe(130);
    expect(end.stderr).toMatch(/cancel/i);
    expect(await lastJob()).toMatchObject({ state: 'CANCELLED' });
    expect(pids.filter(isAlive)).toEqual([]);
  });

  test('twenty jobs on two CPUs queue, each waiting one says why, and never more than two run', async () => {
    const go = join(bed.folder, 'gate');
    const trace = bed.shared('trace');
    const blockers: string[] = [];
    const script = (then: string) => [
      '--',
      'sh',
      '-c',
      `echo start >>${trace}; ${then}; echo end >>${trace}`,
    ];
    for (let i = 0; i < 2; i++)
      blockers.push(await submit(bed, ...script(`while [ ! -e ${go} ]; do sleep 0.05; done`)));
    const others: string[] = [];
    for (let i = 0; i < 18; i++)
      others.push(await submit(bed, '--name', `twin-${i}`, ...script('sleep 0.1')));
    for (const id of blockers) await untilState(bed, id, 'RUNNING');
    const jobs = await readJobs(bed);
    const waiting = jobs.filter(({ state }) => state === 'PENDING');
    expect(waiting.map(({ id }) => id).sort()).toEqual([...others].sort());
    for (const { reason } of waiting) {
      expect(reason).toMatch(/cpu/i);
      expect(reason.length).toBeGreaterThan(15);
    }
    // A user who looks at one of them reads the same sentence.
    const shown = await bed.run(['job', others[5] ?? '']);
    expect(shown.stdout).toContain((await readJob(bed, others[5] ?? '')).reason);

    writeFileSync(go, '');
    const ends = await bed.run(['wait', ...blockers, ...others]);
    expect(ends.code, ends.stderr).toBe(0);
    let running = 0;
    let most = 0;
    for (const word of readFileSync(trace, 'utf8').trim().split('\n')) {
      running += word === 'start' ? 1 : -1;
      most = Math.max(most, running);
    }
    expect({ running, most }).toEqual({ running: 0, most: 2 });
  });

  test('a job larger than every node says so instead of waiting silently', async () => {
    const id = await submit(bed, '--cpus', '4000', '--', 'true');
    const job = await until('a reason', async () => {
      const view = await readJob(bed, id);
      return view.reason !== '' && view;
    });
    expect(job.state).not.toBe('RUNNING');
    expect(job.reason).toMatch(/4000|cpu/i);
    expect((await bed.run(['cancel', id])).code).toBe(0);
    expect((await untilState(bed, id, 'CANCELLED', 'FAILED_TO_START')).endedAt).not.toBeNull();
  });
});
