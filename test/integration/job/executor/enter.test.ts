// Commands beside a running job: with and without walls.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createClock } from '../../../../src/base/clock.ts';
import { createSilentLog } from '../../../../src/base/log.ts';
import type { Executor } from '../../../../src/job/executor/executor.ts';
import { createProcessExecutor } from '../../../../src/job/executor/process.ts';
import { enter, requestOf } from './enter-client.ts';
import { freshFolder, isAlive, type RequestChange, runIn, shimPath, until } from './harness.ts';
import { canSandbox, sandboxed } from './walls.ts';

describe('beside a plain job', () => commandsBeside(undefined));
describe.skipIf(!canSandbox)('beside a job in a sandbox', () => commandsBeside(sandboxed));

function commandsBeside(change: RequestChange | undefined): void {
  let executor: Executor;
  beforeEach(() => {
    executor = createProcessExecutor({
      shimPath,
      native: null,
      clock: createClock(),
      log: createSilentLog(),
    });
  });
  afterEach(() => executor.close());

  const running = async () => {
    const job = runIn(executor, freshFolder(), { command: ['sleep', '1000'] }, change);
    await job.started;
    return job;
  };
  const end = async (job: Awaited<ReturnType<typeof running>>) => {
    job.execution.stop(0);
    await job.ended;
  };

  test('a command has its user, folder, environment and processes, and tells how it ended', async () => {
    const job = await running();
    const { folder } = job.request;
    const script =
      'pwd; id -u; echo $MORE $FLOPD_JOB_ID; grep NoNewPrivs /proc/self/status; echo e >&2; exit 7';
    const command = enter(folder, requestOf({ argv: ['sh', '-c', script], env: ['MORE=more'] }));
    expect(await command.ended).toEqual({ how: 0, value: 7, step: '' });
    const uid = job.request.containment.user?.uid ?? process.getuid?.();
    const own = [join(folder, 'workspace'), uid, `more ${job.request.jobId}`, 'NoNewPrivs:\t1', ''];
    expect(command.stdout()).toBe(own.join('\n'));
    expect(command.stderr()).toBe('e\n');
    const beside = enter(folder, requestOf({ argv: ['pgrep', '-x', 'sleep', '-c'], cwd: '/' }));
    expect((await beside.ended)?.how).toBe(0);
    if (change !== undefined) expect(beside.stdout()).toBe('1\n'); // it sees the job, and no other
    await end(job);
  });

  test('what it is given arrives byte for byte, within its credit', async () => {
    const job = await running();
    const command = enter(job.request.folder, requestOf({ argv: ['sh', '-c', 'sha256sum'] }));
    const { createHash } = await import('node:crypto');
    const hash = createHash('sha256');
    const pieces = 40;
    for (let at = 0; at < pieces; at++) {
      const piece = Buffer.alloc(65536, at + 1);
      hash.update(piece);
      command.say('i', piece);
      await until(() => command.credited() === (at + 1) * 65536, 'it was taken', 20_000);
    }
    command.say('i', Buffer.alloc(0));
    expect(await command.ended).toEqual({ how: 0, value: 0, step: '' });
    expect(command.stdout()).toBe(`${hash.digest('hex')}  -\n`);
    await end(job);
  });

  test('it gets a terminal of the asked size, and signals through it', async () => {
    const job = await running();
    const script =
      'stty size; tty >/dev/null && echo tty; trap "echo int; stty size; exit 3" INT; echo ready; while :; do sleep 0.05; done';
    const command = enter(
      job.request.folder,
      requestOf({ argv: ['sh', '-c', script], rows: 33, columns: 101 }),
    );
    await until(() => command.stdout().includes('ready'), 'it runs', 20_000);
    command.say('w', Buffer.from([40, 0, 90, 0]));
    command.say('i', Buffer.from([3]));
    expect(await command.ended).toEqual({ how: 0, value: 3, step: '' });
    expect(command.stdout().replaceAll('\r', '').replace('^C', '')).toBe('33 101\ntty\nready\nint\n40 90\n');
    await end(job);
  });

  test('signals, failures to start and foreign requests are told apart', async () => {
    const job = await running();
    const { folder } = job.request;
    const killed = enter(folder, requestOf({ argv: ['sleep', '1000'] }));
    await killed.pid;
    killed.say('s', Buffer.from([10]));
    expect(await killed.ended).toEqual({ how: 1, value: 10, step: '' });
    expect(await enter(folder, requestOf({ argv: ['no-such-program'] })).ended).toEqual({
      how: 2,
      value: 2,
      step: 'exec',
    });
    expect(await enter(folder, requestOf({ argv: ['true'], cwd: '/no/such' })).ended).toEqual({
      how: 2,
      value: 2,
      step: 'chdir',
    });
    expect(await enter(folder, Buffer.from('flopd-enter\x002\0')).ended).toMatchObject({
      how: 2,
      step: 'request',
    });
    await end(job);
  });

  test('an end that meets a late word of its agent is told all the same', async () => {
    const job = await running();
    for (const [command, end] of [
      [['sh', '-c', 'exit 7'], { kind: 'exited', exitCode: 7 }],
      [['no-such-program'], { kind: 'failedToStart', step: 'exec', errno: 'ENOENT' }],
    ] as const) {
      const told = await new Promise((resolve) => {
        const entered = job.execution.enter?.(
          { command, terminal: null, environment: {} },
          { started() {}, output() {}, inputTaken() {}, ended: resolve },
        );
        // Its last word lies there unread, and it would be gone by now, when the end of its input comes.
        entered?.pause();
        setTimeout(() => {
          entered?.input(Buffer.alloc(0));
          setTimeout(() => entered?.resume(), 50);
        }, 300);
      });
      expect(told).toEqual(end);
    }
    await end(job);
  });

  test('when nobody listens any more it is hung up; when the job ends it is killed', async () => {
    const job = await running();
    const { folder } = job.request;
    const left = enter(folder, requestOf({ argv: ['sh', '-c', 'trap "" HUP; sleep 1000 & wait'] }));
    const leftPid = await left.pid;
    left.hangUp();
    await until(() => !isAlive(leftPid), 'it was killed', 20_000);
    const stays = enter(folder, requestOf({ argv: ['sleep', '1000'] }));
    const staysPid = await stays.pid;
    process.kill(await job.started, 'SIGKILL');
    await job.ended;
    const last = await stays.ended; // whoever is killed first
    if (last !== null) expect(last).toEqual({ how: 1, value: 9, step: '' });
    expect(isAlive(staysPid)).toBe(false);
    expect(existsSync(join(folder, 'end'))).toBe(true);
  });
}
