// "Why did it stop?", "why does it wait?": each cause is brought about on the built program, and the first line of
// `flopd job ID` has to name it. Others stand where their beds are: image (container), device fault (device-faults),
// missing sandbox (limits), full disks (faults), reboot (unit tests of the executor).
import { chmodSync, existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Apart, killed, startAgent } from './apart.ts';
import { type Bed, createBed, type Daemon, processesOfJob, until } from './bed.ts';
import { readJob, submit, untilState } from './job-view.ts';

const canLimit = process.getuid?.() === 0 && existsSync('/sys/fs/cgroup/memory/memory.limit_in_bytes');

let bed: Bed;
let scheduler: Daemon;
let node: Apart;
beforeAll(async () => {
  bed = createBed();
  scheduler = await bed.start(['scheduler']);
  node = await startAgent(bed, scheduler, 'rack1');
});
afterAll(() => bed.close());

/** What a user reads first. */
async function sentence(id: string): Promise<string> {
  const { code, stdout, stderr } = await bed.run(['job', id]);
  expect(code, stderr).toBe(0);
  return (stdout.split('\n')[0] ?? '').replace(/\s+/g, ' ');
}

async function endOf(id: string): Promise<string> {
  await bed.run(['wait', id]);
  return sentence(id);
}

/** Repeats until the shell had set its trap before the signal came, which is a matter of a busy machine: with more time. */
async function endWithTrap(submitWith: (scale: number) => Promise<string>, words: RegExp): Promise<string> {
  for (let scale = 1; ; scale *= 4) {
    const told = await endOf(await submitWith(scale));
    if (words.test(told) || scale > 16) return told;
  }
}

/** A small request, so that all of them have room at the same time. */
const small = ['--cpus', '0.1'];
const ready = (name: string): string => `touch ${join(bed.folder, name)}`;

describe('the end of a job', () => {
  test.each([
    ['its own code', ['--', 'sh', '-c', 'exit 3'], /^FAILED exited with code 3$/],
    ['its own signal', ['--', 'sh', '-c', 'kill -SEGV $$'], /^FAILED killed by signal 11 \(SIGSEGV\)$/],
    [
      'a time limit',
      ['--time-limit', '300ms', '--', 'sleep', '60'],
      /^TIMEOUT stopped at its time limit of 300 ms \(SIGTERM\)$/,
    ],
    [
      'a missing program',
      ['--', 'no-such-program'],
      /^FAILED_TO_START failed to start: "no-such-program": no such file or directory \(ENOENT\)$/,
    ],
    [
      'a folder as a program',
      ['--', '/usr/bin'],
      /^FAILED_TO_START failed to start: "\/usr\/bin": is a directory \(EISDIR\)$/,
    ],
    [
      'a missing working directory',
      ['--workdir', '/nonexistent', '--', 'true'],
      /^FAILED_TO_START failed to start: working directory "\/nonexistent": no such file or directory \(ENOENT\)/,
    ],
    [
      'output beyond its quota',
      ['--output-quota', '8KiB', '--', 'seq', '1', '100000'],
      /^COMPLETED exited with code 0; 503 KiB of stdout were cut by its quota of 8\.00 KiB$/,
    ],
  ])('names %s', async (_, args, words) => {
    expect(await endOf(await submit(bed, ...small, ...args))).toMatch(words);
  });

  test('names a time limit and no ear for SIGTERM', async () => {
    const words =
      /^TIMEOUT stopped at its time limit of \d+ (?:ms|s) \(SIGTERM; SIGKILL after 200 ms of grace\)$/;
    const deaf = ['--', 'sh', '-c', 'trap "" TERM; while :; do sleep 1; done'];
    const told = await endWithTrap((scale) => {
      const limits = ['--time-limit', `${500 * scale}ms`, '--grace', '200ms'];
      return submit(bed, ...small, ...limits, ...deaf);
    }, words);
    expect(told).toMatch(words);
  });

  test('names a checkpoint signal before its time limit', async () => {
    const words = /^FAILED exited with code 9; it was sent its checkpoint signal SIGUSR1 at \d{4}-/;
    const saves = ['--', 'sh', '-c', 'trap "exit 9" USR1; while :; do sleep 0.1; done'];
    const told = await endWithTrap((scale) => {
      const limits = ['--time-limit', '60s', '--checkpoint', `SIGUSR1@${60_000 - 500 * scale}ms`];
      return submit(bed, ...small, ...limits, ...saves);
    }, words);
    expect(told).toMatch(words);
  });

  test('names an interpreter that is missing', async () => {
    const script = join(bed.folder, 'script');
    writeFileSync(script, '#!/no/such/interpreter\n');
    chmodSync(script, 0o755);
    expect(await endOf(await submit(bed, ...small, '--', script))).toMatch(
      /^FAILED_TO_START failed to start: ".*\/script": the interpreter that it names is missing \(ENOENT\)$/,
    );
  });

  test('names a file that nobody may execute, and one that is no program', async () => {
    const file = join(bed.folder, 'data');
    writeFileSync(file, 'data');
    chmodSync(file, 0o644);
    expect(await endOf(await submit(bed, ...small, '--', file))).toMatch(
      /: permission denied, or not executable \(EACCES\)$/,
    );
    chmodSync(file, 0o755);
    expect(await endOf(await submit(bed, ...small, '--', file))).toMatch(
      /: not a program that the kernel can run \(a script needs a #! line\) \(ENOEXEC\)$/,
    );
  });

  test.skipIf(!canLimit)('names memory: of the job, of a child of it, and who held the limit', async () => {
    const [own, child] = await Promise.all([
      submit(bed, ...small, '--memory', '32MiB', '--', 'tail', '/dev/zero'),
      submit(bed, ...small, '--memory', '32MiB', '--', 'sh', '-c', 'tail /dev/zero; exit 4'),
    ]);
    expect(await endOf(own ?? '')).toMatch(
      /^OUT_OF_MEMORY out of memory: the kernel killed a process of it .* its limit was 32\.0 MiB, held by cgroup-v\d/,
    );
    expect(await endOf(child ?? '')).toMatch(
      /^FAILED exited with code 4; the kernel killed a process of it for memory/,
    );
  });

  test('names the one who cancelled it, running or waiting', async () => {
    const running = await submit(bed, ...small, '--', 'sleep', '600');
    await untilState(bed, running, 'RUNNING');
    const waiting = await submit(bed, '--cpus', '4000', '--', 'true');
    await bed.run(['cancel', running]);
    await bed.run(['cancel', waiting]);
    expect(await endOf(running)).toMatch(/^CANCELLED cancelled by \S+ \(SIGTERM\)$/);
    expect(await endOf(waiting)).toMatch(/^CANCELLED cancelled by \S+ while it waited$/);
  });

  test('names a shim that was killed, and never a success', async () => {
    const id = await submit(bed, ...small, '--', 'sh', '-c', `${ready('shim')}; exec sleep 600`);
    await until('the job', () => existsSync(join(bed.folder, 'shim')) && processesOfJob(id).length > 0);
    const shim = await until('its shim', () => shimOf(id));
    process.kill(shim, 'SIGKILL');
    expect(await endOf(id)).toMatch(/^LOST lost: its shim was killed; what was left of the job was ended$/);
    expect(processesOfJob(id)).toEqual([]);
  });

  test('names a dependency that failed', async () => {
    const first = await submit(bed, ...small, '--', 'false');
    const second = await submit(bed, ...small, '--after', first, '--', 'true');
    expect(await endOf(second)).toMatch(new RegExp(`^CANCELLED .*${first}`));
  });

  test('names how often it was tried', async () => {
    const id = await submit(
      bed,
      ...small,
      '--retry',
      '1:failed',
      '--retry-delay',
      '50ms',
      '--',
      'sh',
      '-c',
      'exit 6',
    );
    await until('the second attempt', async () => (await readJob(bed, id)).epoch === 2);
    expect(await endOf(id)).toMatch(/^FAILED exited with code 6/);
    const { stdout } = await bed.run(['job', id]);
    expect(stdout).toMatch(/attempt\s+2/);
  });
});

describe('a job that waits', () => {
  test('says what no node has', async () => {
    const id = await submit(bed, '--cpus', '4000', '--', 'true');
    expect(await sentence(id)).toMatch(
      /^PENDING waiting: needs 4000 CPUs, the largest connected node has \d+$/,
    );
    await bed.run(['cancel', id]);
  });

  test('says which job it waits for, and in which state that is', async () => {
    const first = await submit(bed, ...small, '--', 'sleep', '600');
    await untilState(bed, first, 'RUNNING');
    const second = await submit(bed, ...small, '--after', first, '--', 'true');
    expect(await sentence(second)).toMatch(new RegExp(`^PENDING waiting.*${first}.*RUNNING`));
    await bed.run(['cancel', first]);
    expect(await endOf(second)).toMatch(/^CANCELLED /);
  });

  test('says how long it waits after which end', async () => {
    const id = await submit(
      bed,
      ...small,
      '--retry',
      '1:failed',
      '--retry-delay',
      '1h',
      '--',
      'sh',
      '-c',
      'exit 6',
    );
    await until(
      'the back-off',
      async () => (await readJob(bed, id)).state === 'PENDING' && (await readJob(bed, id)).epoch === 1,
    );
    expect(await sentence(id)).toMatch(/^PENDING waiting.*exited with code 6/);
    await bed.run(['cancel', id]);
  });

  test('says that its executor is nowhere', async () => {
    const id = await submit(bed, ...small, '--image', 'nowhere/none:1', '--', 'true');
    const words = await sentence(id);
    await bed.run(['cancel', id]);
    // Where podman is installed the image cannot be had instead.
    expect(words).toMatch(/container|image/);
  });

  test('says that nodes are drained, by whom and why', async () => {
    await bed.run(['drain', 'rack1', '--reason', 'new fans']);
    const id = await submit(bed, ...small, '--', 'true');
    expect(await sentence(id)).toMatch(/^PENDING waiting.*rack1.*new fans/);
    await bed.run(['resume', 'rack1']);
    expect(await endOf(id)).toBe('COMPLETED exited with code 0');
  });

  test('says that its node is away, that it was stopped for it, and how', async () => {
    const keep = await submit(bed, ...small, '--', 'sleep', '600');
    const stop = await submit(
      bed,
      ...small,
      '--disconnect',
      'stop:500ms',
      '--grace',
      '200ms',
      '--',
      'sleep',
      '600',
    );
    await untilState(bed, keep, 'RUNNING');
    await untilState(bed, stop, 'RUNNING');
    await killed(node.daemon);
    await until('that it is seen', async () => /unreachable/.test(await sentence(keep)), 60_000);
    expect(await sentence(keep)).toMatch(
      /^RUNNING runs on rack1; the node has been unreachable .* the job goes on there$/,
    );
    expect(await endOf(stop)).toMatch(/^LOST .*lease lost.*unreachable/);
    expect(processesOfJob(stop)).toEqual([]);
    await bed.start(['agent'], node.options);
    await until('that it is back', async () => (await sentence(keep)) === 'RUNNING runs on rack1', 60_000);
    await bed.run(['cancel', keep]);
    expect(await endOf(keep)).toMatch(/^CANCELLED /);
  });
});

/** The parent of the job's processes that is none of them. */
function shimOf(id: string): number | null {
  const { execFileSync } = process.getBuiltinModule('node:child_process');
  const list = execFileSync('ps', ['-eo', 'pid,args'], { encoding: 'utf8' });
  const line = list.split('\n').find((one) => one.includes('flopd-shim') && one.includes(`${id}.`));
  return line === undefined ? null : Number(line.trim().split(/\s+/)[0]);
}
