// Jobs in a sandbox, and with a user of their own: the contract, and what only walls have.
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createClock } from '../../../../src/base/clock.ts';
import { createSilentLog } from '../../../../src/base/log.ts';
import { type Executor, noContainment } from '../../../../src/job/executor/executor.ts';
import { createProcessExecutor } from '../../../../src/job/executor/process.ts';
import { executorContract, shimOf } from './contract.ts';
import { freshFolder, isAlive, processesOf, type RequestChange, runIn, shimPath, until } from './harness.ts';
import { canSandbox, jobUser, sandboxed, wrapOf } from './walls.ts';

const create = () =>
  createProcessExecutor({ shimPath, native: null, clock: createClock(), log: createSilentLog() });

describe.skipIf(!canSandbox)('walled in', () =>
  executorContract('process in a sandbox', create, sandboxed, { burst: 20, brief: true }),
);

let executor: Executor;
beforeEach(() => {
  executor = create();
});
afterEach(() => executor.close());
const run = (script: string, change?: RequestChange) =>
  runIn(executor, freshFolder(), { command: ['sh', '-c', script] }, change);
const stdoutOf = (job: ReturnType<typeof run>) => readFileSync(join(job.request.folder, 'stdout'), 'utf8');

/** Parent of a process, by /proc. */
function parentOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
}

test('no job can gain privileges', async () => {
  const job = run('grep NoNewPrivs /proc/self/status');
  await job.ended;
  expect(stdoutOf(job)).toBe('NoNewPrivs:\t1\n');
});

describe.skipIf(jobUser === null)('a user of its own', () => {
  const groups = [44, 109];
  const asUser: RequestChange = () => ({
    containment: { ...noContainment, user: jobUser === null ? null : { ...jobUser, groups } },
  });

  test('has the workspace and the meter, and no capability', async () => {
    const job = run(
      'id -u; id -G; grep -E "^Cap(Prm|Eff|Amb)" /proc/self/status; echo x > own; cat ../spec ../end.tmp',
      asUser,
    );
    expect(await job.ended).toMatchObject({ kind: 'exited', exitCode: 1 });
    const none = ['CapPrm', 'CapEff', 'CapAmb'].map((name) => `${name}:\t0000000000000000`);
    expect(stdoutOf(job).split('\n')).toEqual([
      String(jobUser?.uid),
      [jobUser?.gid, ...groups].join(' '),
      ...none,
      '',
    ]);
    for (const name of ['workspace', 'workspace/own', 'meter'])
      expect(statSync(join(job.request.folder, name)).uid).toBe(jobUser?.uid);
  });

  // No namespace has keys of its own, and the kernel keeps those of a user that has no process.
  test.skipIf(process.arch !== 'x64')('has no keys of an earlier job of the same id', async () => {
    const names = 'my @k = ("user", "flopd-left", "x");';
    const add = `perl -e '${names} exit 1 if syscall(248, @k, 1, -4) < 0'`;
    const find = `perl -e '${names} exit(syscall(250, 10, -4, @k[0, 1], 0) < 0 ? 3 : 0)'`;
    for (const change of canSandbox ? [asUser, sandboxed] : [asUser]) {
      expect(await run(`${add} && ${find}`, change).ended).toMatchObject({ kind: 'exited', exitCode: 0 });
      expect(await run(find, change).ended).toMatchObject({ kind: 'exited', exitCode: 3 });
    }
  });

  test('dies with its shim though a change of user clears that', async () => {
    const job = run('exec sleep 1000', asUser);
    const pid = await job.started;
    job.execution.detach();
    process.kill(Number(shimOf(job.request.folder)), 'SIGKILL');
    await until(() => !isAlive(pid), 'the job is gone', 20_000);
  });

  test('is asked for the working directory as itself', async () => {
    const job = runIn(executor, freshFolder(), { command: ['true'], workingDirectory: '/root' }, asUser);
    expect(await job.ended).toMatchObject({ kind: 'failedToStart', failedStep: 'chdir', errno: 'EACCES' });
  });
});

describe.skipIf(!canSandbox)('a sandbox', () => {
  test('that cannot be set up is a failed start, in its own words', async () => {
    const job = run('true', (folder) => {
      const wrap = wrapOf(folder);
      wrap.splice(1, 0, '--bind', '/no/such/folder', '/x');
      return { containment: { ...noContainment, wrap } };
    });
    const end = await job.ended;
    expect(end).toMatchObject({ kind: 'failedToStart', failedStep: 'sandbox', errno: null, stderrBytes: 0 });
    expect(end.detail).toContain('/no/such/folder');
    const missing = run('true', () => ({
      containment: { ...noContainment, wrap: ['/no/such/bwrap', '--'] },
    }));
    expect(await missing.ended).toMatchObject({
      kind: 'failedToStart',
      failedStep: 'sandbox',
      errno: 'ENOENT',
    });
  });

  test.each(['its first process', 'the sandbox program'])(
    'whose end comes by a kill of %s is told as killed',
    async (which) => {
      const job = run('setsid sleep 1000 & sleep 1000', sandboxed);
      const init = parentOf(await job.started);
      process.kill(which === 'its first process' ? init : parentOf(init), 'SIGKILL');
      expect(await job.ended).toMatchObject({ kind: 'signalled', signal: 9, stopped: null, detail: null });
      expect(processesOf(job.request.jobId)).toEqual([]);
    },
  );

  test('shows the job nothing of the shim: no descriptor, no environment, no signal reaches its first process', async () => {
    const script =
      'ls /proc/1/fd; cat /proc/1/environ; kill -9 1; kill -STOP 1; sleep 0.05; ls /proc/self/fd; cut -d" " -f4 /proc/self/stat; exit 3';
    const job = run(script, sandboxed);
    expect(await job.ended).toMatchObject({ kind: 'exited', exitCode: 3 });
    expect(stdoutOf(job)).toBe('0\n1\n2\n3\n2\n');
  });

  test('ends with its shim, whatever its job has made', async () => {
    const job = run('setsid sh -c "trap : TERM HUP; while :; do sleep 1; done" & sleep 1000', sandboxed);
    const init = parentOf(await job.started);
    job.execution.detach();
    process.kill(Number(shimOf(job.request.folder)), 'SIGKILL');
    await until(() => !isAlive(init) && processesOf(job.request.jobId).length === 0, 'all is gone', 20_000);
    expect(readdirSync(job.request.folder)).not.toContain('end');
  });

  test('a job that ignores SIGTERM in it is killed, and told so by its first process', async () => {
    const job = run('trap "" TERM; echo ready; while :; do sleep 0.05; done', sandboxed);
    await job.grown(6);
    job.execution.stop(100);
    expect(await job.ended).toMatchObject({ kind: 'signalled', signal: 9, stopped: 'stop', killed: true });
  });
});
