// The process executor: the contract with and without the addon, and what only shims can suffer.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createClock } from '../../../../src/base/clock.ts';
import { createSilentLog } from '../../../../src/base/log.ts';
import type { Executor } from '../../../../src/job/executor/executor.ts';
import { createProcessExecutor } from '../../../../src/job/executor/process.ts';
import { loadNative, type Native } from '../../../../src/native.ts';
import { executorContract, recoverOf, shimOf } from './contract.ts';
import {
  addonPath,
  bootId,
  freshFolder,
  isAlive,
  processesOf,
  program,
  record,
  requestIn,
  runIn,
  shimPath,
  until,
} from './harness.ts';

const create = (native: Native | null): Executor =>
  createProcessExecutor({ shimPath, native, clock: createClock(), log: createSilentLog() });

const { native } = loadNative(addonPath);
executorContract('process', () => create(native));

describe('shims', () => {
  let executor: Executor;
  beforeEach(() => {
    executor = create(null);
  });
  afterEach(() => executor.close());

  test('a second shim on a running job exits without effect', async () => {
    const job = runIn(executor, freshFolder(), { command: ['sh', '-c', 'echo run >> count; sleep 0.4'] });
    await job.started;
    const second = spawnSync(shimPath, [job.request.folder, bootId]);
    expect(second.status).toBe(0);
    expect(await job.ended).toMatchObject({ kind: 'exited', exitCode: 0 });
    expect(readFileSync(join(job.request.folder, 'workspace', 'count'), 'utf8')).toBe('run\n');
    const end = readFileSync(join(job.request.folder, 'end'), 'utf8');
    expect(spawnSync(shimPath, [job.request.folder, bootId]).status).toBe(0);
    expect(readFileSync(join(job.request.folder, 'end'), 'utf8')).toBe(end);
  });

  test('a job whose end record the disk refuses ends as it did, from the memory of its shim', async () => {
    const jobsFolder = freshFolder();
    const job = runIn(executor, jobsFolder, {
      command: ['sh', '-c', 'while [ ! -e go ]; do sleep 0.02; done; exit 7'],
    });
    await job.started;
    const shim = Number(shimOf(job.request.folder));
    mkdirSync(join(job.request.folder, 'end')); // a file cannot be renamed onto it
    writeFileSync(join(job.request.folder, 'workspace', 'go'), '');
    expect(await job.ended).toMatchObject({ kind: 'exited', exitCode: 7 });
    expect(isAlive(shim)).toBe(true);
    rmdirSync(join(job.request.folder, 'end'));
    await until(() => !isAlive(shim), 'the shim has put the record on disk and is gone');
    expect(readFileSync(join(job.request.folder, 'end'), 'utf8')).toContain('\nexitCode=7\n');
  });

  test('an attempt that was seen to run and whose folder has forgotten it is lost, and is not run again', async () => {
    const request = requestIn(freshFolder(), { command: ['sh', '-c', 'echo run >> count'] });
    const recorded = record();
    executor.recover({ ...recoverOf({ request }), start: request, began: true }, recorded.events);
    expect(await recorded.ended).toMatchObject({ kind: 'lost', exitCode: null });
    expect(recorded.history).toEqual(['ended']);
    expect(existsSync(join(request.folder, 'workspace', 'count'))).toBe(false);
  });

  test('a job whose shim is killed under a living agent is lost, and its whole tree is ended', async () => {
    const job = runIn(executor, freshFolder(), {
      command: ['sh', '-c', 'setsid sleep 1000 & echo $!; sh -c "sleep 1000 & sleep 1000" & exec sleep 1000'],
    });
    await job.grown(2);
    const pid = await job.started;
    const left = Number(readFileSync(join(job.request.folder, 'stdout'), 'utf8'));
    process.kill(Number(shimOf(job.request.folder)), 'SIGKILL');
    const end = await job.ended;
    expect(end).toMatchObject({ kind: 'lost', exitCode: null, signal: null, durationMs: null });
    expect(end.detail).toContain('its shim was killed');
    expect([isAlive(pid), isAlive(left)]).toEqual([false, false]);
    expect(processesOf(job.request.jobId)).toEqual([]);
  });

  test('a job whose shim is killed while no agent runs is lost for the next agent', async () => {
    const job = runIn(executor, freshFolder(), { command: ['sh', '-c', 'setsid sleep 1000 & sleep 1000'] });
    await job.started;
    job.execution.detach();
    executor.close();
    process.kill(Number(shimOf(job.request.folder)), 'SIGKILL');
    executor = create(null);
    const again = record();
    executor.recover(recoverOf(job), again.events);
    expect(await again.ended).toMatchObject({ kind: 'lost', exitCode: null });
    expect(processesOf(job.request.jobId)).toEqual([]);
  });

  test('what is left of a lost job is told from strangers by start time and environment', async () => {
    const folder = freshFolder();
    const request = requestIn(folder, { command: ['true'] });
    const stranger = spawn('sleep', ['1000'], { detached: true, stdio: 'ignore' });
    const { pid } = stranger;
    if (pid === undefined) throw new Error('sleep did not start');
    // The record names the stranger's pid, as after a reuse of the number, with another start time.
    writeFileSync(
      join(request.folder, 'started'),
      `flopd-started=1\npid=${pid}\nstartTime=1\nbootId=${bootId}\nshimPid=1\nwallMs=1\ncomplete=1\n`,
    );
    const recorded = record();
    executor.start(request, recorded.events);
    expect(await recorded.ended).toMatchObject({ kind: 'lost' });
    expect(isAlive(pid)).toBe(true);
    stranger.kill('SIGKILL');
  });

  test('the nest of shims can be killed: running jobs go on, and the next start gets a new nest', async () => {
    const folder = freshFolder();
    const job = runIn(executor, folder, { command: ['sh', '-c', 'sleep 0.5; exit 6'] });
    await job.started;
    const nest = nestOf(folder);
    process.kill(nest, 'SIGKILL');
    await until(() => !isAlive(nest), 'the nest is gone');
    expect(await runIn(executor, folder, { command: ['true'] }).ended).toMatchObject({ exitCode: 0 });
    expect(await job.ended).toMatchObject({ exitCode: 6 });
  });

  test('shims are deaf to the signals of strangers', async () => {
    const job = runIn(executor, freshFolder(), { command: ['sh', '-c', 'sleep 0.4; exit 8'] });
    await job.started;
    for (const signal of ['SIGHUP', 'SIGINT', 'SIGTERM', 'SIGPIPE', 'SIGQUIT', 'SIGUSR1', 'SIGALRM'] as const)
      process.kill(Number(shimOf(job.request.folder)), signal);
    expect(await job.ended).toMatchObject({ exitCode: 8 });
  });

  test('the time limit holds while no agent runs', async () => {
    const job = runIn(executor, freshFolder(), { command: [program('forever.sh')], timeLimitMs: 300 });
    await job.started;
    job.execution.detach();
    executor.close();
    await until(() => existsSync(join(job.request.folder, 'end')), 'the job has ended');
    executor = create(null);
    const again = record();
    executor.recover(recoverOf(job), again.events);
    expect(await again.ended).toMatchObject({ stopped: 'timeLimit', signal: 15 });
  });

  test('works below a path longer than a socket address', async () => {
    const folder = join(freshFolder(), 'x'.repeat(120), 'y'.repeat(120));
    mkdirSync(folder, { recursive: true });
    const job = runIn(executor, folder, { command: ['sh', '-c', 'echo a; sleep 0.4'] });
    await job.grown(2);
    job.execution.detach();
    executor.close();
    executor = create(null);
    const again = record();
    executor.recover(recoverOf(job), again.events);
    expect(await again.ended).toMatchObject({ exitCode: 0, stdoutBytes: 2 });
  });

  test('a client that never reads and one that talks nonsense disturb nobody', async () => {
    const job = runIn(executor, freshFolder(), {
      command: ['sh', '-c', 'echo a; sleep 0.3; echo b; sleep 0.3; exit 2'],
    });
    await job.started;
    const clients = [0, 1, 2, 3, 4, 5].map(() => connect(join(job.request.folder, 'control')));
    for (const client of clients) {
      client.on('error', () => {});
      client.pause();
      client.write(`stop\nstop x\nsignal 99\nsignal -1\nnonsense\n${'z'.repeat(300)}`);
    }
    expect(await job.ended).toMatchObject({ kind: 'exited', exitCode: 2, stopped: null, stdoutBytes: 4 });
    for (const client of clients) client.destroy();
  });

  test('a job that makes new sessions without end is ended at its time limit, completely', async () => {
    const job = runIn(executor, freshFolder(), {
      command: ['sh', '-c', 'while :; do setsid sh -c "sleep 0.01; exec sleep 1000" & done'],
      timeLimitMs: 300,
    });
    expect(await job.ended).toMatchObject({ stopped: 'timeLimit', detail: null });
    expect(processesOf(job.request.jobId)).toEqual([]);
  });

  // A disk of its own in a mount namespace of its own: only root can make one.
  test.skipIf(process.getuid?.() !== 0)(
    'a full disk makes the job wait; no byte is lost when there is space again',
    () => {
      const folder = freshFolder();
      const command = 'head -c 500000 /dev/zero; echo done >&2; exit 7';
      const spec = [
        'flopd-spec',
        '1',
        'job-1.1',
        '',
        '',
        '0',
        '/',
        '3',
        'sh',
        '-c',
        command,
        '1',
        'PATH=/usr/bin:/bin',
        'end',
        '',
      ];
      writeFileSync(join(folder, 'order'), spec.join('\0'));
      const script = `
      mkdir "$1/disk" && mount -t tmpfs -o size=1m tmpfs "$1/disk" && mkdir "$1/disk/job" || exit 99
      head -c 700000 /dev/zero > "$1/disk/ballast"; cp "$1/order" "$1/disk/job/spec"
      "$2" "$1/disk/job" boot &
      i=0; while [ "$(stat -f -c %f "$1/disk")" -gt 0 ] && [ $i -lt 400 ]; do sleep 0.05; i=$((i+1)); done; sleep 0.3
      [ -e "$1/disk/job/end" ] && exit 98
      rm "$1/disk/ballast"; wait; cp "$1/disk/job/end" "$1/end"; wc -c < "$1/disk/job/stdout"; cat "$1/disk/job/stderr"`;
      const run = spawnSync('unshare', ['-m', 'sh', '-c', script, 'sh', folder, shimPath], {
        encoding: 'utf8',
      });
      expect([run.status, run.stdout]).toEqual([0, '500000\ndone\n']);
      const end = readFileSync(join(folder, 'end'), 'utf8');
      for (const line of ['exitCode=7', 'stdoutBytes=500000', 'stderrBytes=5', 'outputErrno=28'])
        expect(end.split('\n')).toContain(line);
      expect(end).not.toContain('gap=');
    },
  );

  test('a missing shim is said by probe, and its jobs fail to start instead of hanging', async () => {
    const broken = createProcessExecutor({
      shimPath: '/no/such/shim',
      native: null,
      clock: createClock(),
      log: createSilentLog(),
    });
    expect(broken.probe()).toContain('npm run build');
    expect(executor.probe()).toBeNull();
    const end = await runIn(broken, freshFolder(), { command: ['true'] }).ended;
    expect(end).toMatchObject({ kind: 'failedToStart', failedStep: 'shim', errno: 'ENOENT' });
    broken.close();
  });
});

function nestOf(folder: string): number {
  const { stdout } = spawnSync('pgrep', ['-f', `flopd-shim --nest ${folder}`], { encoding: 'utf8' });
  return Number(stdout.trim().split('\n')[0]);
}
