// What the shim holds a job to while no agent looks: output quota, lease, checkpoint, control groups, what comes after.
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  rmdirSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createClock } from '../../../../src/base/clock.ts';
import { createSilentLog } from '../../../../src/base/log.ts';
import {
  type CgroupPlan,
  type Executor,
  noContainment,
  type StartRequest,
} from '../../../../src/job/executor/executor.ts';
import { createProcessExecutor } from '../../../../src/job/executor/process.ts';
import { recoverOf, shimOf } from './contract.ts';
import { freshFolder, isAlive, type RequestChange, record, runIn, shimPath, until } from './harness.ts';
import { canSandbox, sandboxed } from './walls.ts';

let executor: Executor;
const create = () =>
  createProcessExecutor({ shimPath, native: null, clock: createClock(), log: createSilentLog() });
beforeEach(() => {
  executor = create();
});
afterEach(() => executor.close());

const run = (
  script: string,
  change: Partial<StartRequest> | RequestChange = {},
  input: Partial<Parameters<typeof runIn>[2]> = {},
) =>
  runIn(
    executor,
    freshFolder(),
    { command: ['bash', '-c', script], ...input },
    typeof change === 'function' ? change : () => change,
  );
const stored = (job: { request: StartRequest }, name: string) => readFileSync(join(job.request.folder, name));

describe('quota of output', () => {
  const KEPT_TAIL = 65536;

  test('the beginning and the last 64 KiB are kept, what lies between is told', async () => {
    const job = run('for i in {0..199999}; do printf "%09d\\n" $i; done; printf "%s" end >&2', {
      outputQuotaBytes: 100_000,
    });
    const end = await job.ended;
    const kept = 100_000 + KEPT_TAIL;
    expect(end).toMatchObject({ exitCode: 0, stdoutBytes: kept, stderrBytes: 3, detail: null });
    expect(end.gaps).toEqual([
      { stream: 'stdout', fromByte: 100_000, toByte: 2_000_000 - KEPT_TAIL, reason: 'quota' },
    ]);
    const whole = Buffer.from(
      Array.from({ length: 200_000 }, (_, i) => `${String(i).padStart(9, '0')}\n`).join(''),
    );
    const expected = Buffer.concat([whole.subarray(0, 100_000), whole.subarray(-KEPT_TAIL)]);
    expect(stored(job, 'stdout').equals(expected)).toBe(true);
  });

  test.each([
    [4096, []],
    [4097, []],
    [4096 + KEPT_TAIL, []],
    [4097 + KEPT_TAIL, [{ stream: 'stderr', fromByte: 4096, toByte: 4097, reason: 'quota' }]],
  ])('of 4096, with %i bytes written, is exact', async (bytes, gaps) => {
    const job = run(`head -c ${bytes} /dev/zero >&2`, { outputQuotaBytes: 4096 });
    expect(await job.ended).toMatchObject({ gaps, stderrBytes: Math.min(bytes, 4096 + KEPT_TAIL) });
  });

  test('a job beyond it never waits, and its output costs little', async () => {
    const job = run('head -c 500000000 /dev/zero; echo done', { outputQuotaBytes: 4096 });
    const end = await job.ended;
    expect(end).toMatchObject({ exitCode: 0, stdoutBytes: 4096 + KEPT_TAIL });
    expect(end.gaps[0]).toMatchObject({ toByte: 500_000_005 - KEPT_TAIL });
    expect(stored(job, 'stdout').toString().endsWith('done\n')).toBe(true);
  });
});

describe('lease and checkpoint', () => {
  test('a job whose lease is not renewed is stopped, also while its agent is gone', async () => {
    const job = run('trap "exit 4" TERM; echo ready; while :; do sleep 0.02; done', { leaseMs: 2500 });
    await job.grown(6);
    job.execution.detach();
    executor.close();
    await until(() => existsSync(join(job.request.folder, 'end')), 'the job has ended', 20_000);
    executor = create();
    const again = record();
    executor.recover(recoverOf(job), again.events);
    expect(await again.ended).toMatchObject({ kind: 'exited', exitCode: 4, stopped: 'lease', killed: false });
  });

  test('a renewed lease counts from its renewal', async () => {
    // Renewed long before it is over, and running when it would have been.
    const job = run('echo ready; sleep 4; exit 6', { leaseMs: 3000 });
    await job.started;
    job.execution.renew(60_000);
    expect(await job.ended).toMatchObject({ exitCode: 6, stopped: null });
  });

  test('the checkpoint signal comes to the main process alone, once, before the time limit', async () => {
    const script =
      'trap "echo checkpoint" USR1; (trap "echo child" USR1; sleep 5) & echo ready; while :; do sleep 0.02; done';
    const checkpoint = { signal: 'SIGUSR1', beforeMs: 600 } as const;
    // The traps may not be set by then on a busy machine: that is tried again with more time.
    for (let timeLimitMs = 1500; ; timeLimitMs *= 4) {
      const end = await run(script, {}, { timeLimitMs, checkpoint }).ended;
      if (end.signal === 10 && timeLimitMs < 20_000) continue;
      expect(end).toMatchObject({
        stopped: 'timeLimit',
        signal: 15,
        stdoutBytes: 'ready\ncheckpoint\n'.length,
      });
      expect(end.checkpointAtMs).toBeGreaterThanOrEqual((end.startedAtMs ?? 0) + 800);
      break;
    }
    expect((await run('true', {}, { timeLimitMs: 60_000, checkpoint }).ended).checkpointAtMs).toBeNull();
  });
});

describe('commands that come after the job', () => {
  const environment = { PATH: '/usr/bin:/bin', WHO: 'after' };
  const shell = (script: string, outputFile: string | null, timeoutMs = 20_000) => ({
    command: ['sh', '-c', script],
    outputFile,
    timeoutMs,
    environment,
  });

  test('run one after the other, before the end is told, into files of the folder', async () => {
    const after = [
      shell('cat /nonexistent; echo $WHO', 'first'),
      shell('ls end; exit 3', 'second'),
      shell('echo', null),
    ];
    const job = run('echo job > marker; exit 5', { after });
    expect(await job.ended).toMatchObject({ exitCode: 5, stdoutBytes: 0 });
    expect([stored(job, 'first').toString(), stored(job, 'second').toString()]).toEqual(['after\n', '']);
  });

  test('one that hangs is ended at its deadline, with what it started', async () => {
    const job = run('true', { after: [shell('sleep 1000 & echo $!; wait', 'pid', 300)] });
    expect(await job.ended).toMatchObject({ exitCode: 0 });
    expect(isAlive(Number(stored(job, 'pid')))).toBe(false);
  });

  test('their files are made anew and never reached through a link', async () => {
    const job = run('true', (folder) => {
      const target = join(folder, 'workspace', 'target');
      writeFileSync(target, 'untouched');
      symlinkSync(target, join(folder, 'report'));
      return { after: [shell('echo report', 'report')] };
    });
    await job.ended;
    expect(readFileSync(join(job.request.folder, 'workspace', 'target'), 'utf8')).toBe('untouched');
    expect(stored(job, 'report').toString()).toBe('report\n');
    expect(lstatSync(join(job.request.folder, 'report')).isFile()).toBe(true);
  });

  test('run also after a failed start and after the death of the shim', async () => {
    const failed = runIn(executor, freshFolder(), { command: ['no-such-program'] }, () => ({
      after: [shell('echo after', 'report')],
    }));
    expect(await failed.ended).toMatchObject({ kind: 'failedToStart', failedStep: 'exec', errno: 'ENOENT' });
    expect(stored(failed, 'report').toString()).toBe('after\n');
    const lost = run('sleep 1000', { after: [shell('echo after', 'report')] });
    await lost.started;
    process.kill(Number(shimOf(lost.request.folder)), 'SIGKILL');
    expect(await lost.ended).toMatchObject({ kind: 'lost' });
    expect(stored(lost, 'report').toString()).toBe('after\n');
  });
});

/** Version 1 groups of this machine that tests may make subgroups in. */
const groupOf = (controller: string): string | null => {
  const root = `/sys/fs/cgroup/${controller}`;
  try {
    const probe = join(root, `${process.env.FLOPD_TEST_RUN ?? 'flopd-test-alone'}-${process.pid}`);
    mkdirSync(probe);
    const works = existsSync(join(probe, 'cgroup.procs'));
    rmdirSync(probe);
    return works ? root : null;
  } catch {
    return null;
  }
};
const roots = { memory: groupOf('memory'), pids: groupOf('pids'), cpuacct: groupOf('cpuacct') };
const hasGroups = Object.values(roots).every((root) => root !== null);

describe.skipIf(!hasGroups)('control groups', () => {
  let made: CgroupPlan[] = [];
  const plan = (
    controller: keyof typeof roots,
    folder: string,
    settings: CgroupPlan['settings'] = [],
  ): CgroupPlan => {
    const group: CgroupPlan = {
      folder: `${roots[controller]}/flopd-${folder.split('/').at(-1)}`,
      version: 1,
      controllers: [controller],
      settings,
    };
    made.push(group);
    return group;
  };
  const limited =
    (memoryBytes: number, processes: number, walls: RequestChange = () => ({})): RequestChange =>
    (folder) => {
      const change = walls(folder);
      const cgroups = [
        plan('memory', folder, [['memory.limit_in_bytes', String(memoryBytes)]]),
        plan('pids', folder, [['pids.max', String(processes)]]),
        plan('cpuacct', folder),
      ];
      return { ...change, containment: { ...(change.containment ?? noContainment), cgroups } };
    };
  afterEach(() => {
    expect(made.filter(({ folder }) => existsSync(folder))).toEqual([]);
    made = [];
  });

  test('the job is in them before it runs, and they are gone before its end is told', async () => {
    const job = run('cat /proc/self/cgroup; sleep 0.05', limited(1e9, 100));
    const end = await job.ended;
    const own = job.request.folder.split('/').at(-1);
    for (const name of ['memory', 'pids', 'cpuacct'])
      expect(stored(job, 'stdout').toString()).toMatch(new RegExp(`:${name}:/flopd-${own}\n`));
    expect(end).toMatchObject({ exitCode: 0, refusedLimits: [], outOfMemory: { kills: 0, firstAtMs: null } });
    expect(end.memoryPeakBytes).toBeGreaterThan(100_000);
  });

  const kinds: [string, RequestChange | undefined][] = [
    ['plain', undefined],
    ['sandboxed', sandboxed],
  ];
  test.for(kinds)(
    'a %s job that needs too much memory is killed, and that is told',
    async ([, walls], { skip }) => {
      skip(walls !== undefined && !canSandbox);
      const job = run(
        'set -o pipefail; head -c 200000000 /dev/zero | tail -c 190000000 | wc -c',
        limited(50_000_000, 100, walls),
      );
      const end = await job.ended;
      expect(end.outOfMemory?.kills).toBeGreaterThanOrEqual(1);
      expect(end.outOfMemory?.firstAtMs).toBeGreaterThanOrEqual(end.startedAtMs ?? 0);
      expect(end).toMatchObject({ kind: 'exited', exitCode: 137 }); // its main process lives on and tells it
    },
  );

  test.for(kinds)('a %s fork bomb is held, and ends with its job', async ([, walls], { skip }) => {
    skip(walls !== undefined && !canSandbox);
    const job = run(
      'for i in {1..60}; do sleep 1000 & done; :(){ : | : & sleep 0.01; : ; }; : 2>/dev/null',
      limited(1e9, 40, walls),
    );
    await job.started;
    job.execution.stop(100);
    const end = await job.ended;
    expect(end.stopped).toBe('stop');
    expect(end.detail).toBeNull();
  });

  const unified = ['/sys/fs/cgroup/unified', '/sys/fs/cgroup'].find((root) =>
    existsSync(join(root, 'cgroup.controllers')),
  );
  test.skipIf(unified === undefined)('of version 2 hold and count a job too', async () => {
    const job = run('cat /proc/self/cgroup; i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done', (folder) => {
      const group: CgroupPlan = {
        folder: `${unified}/flopd-${folder.split('/').at(-1)}`,
        version: 2,
        controllers: [],
        settings: [],
      };
      made.push(group);
      return { containment: { ...noContainment, cgroups: [group] } };
    });
    const end = await job.ended;
    expect(end).toMatchObject({ exitCode: 0, refusedLimits: [], memoryPeakBytes: null, outOfMemory: null });
    expect(stored(job, 'stdout').toString()).toContain(`0::/flopd-${job.request.folder.split('/').at(-1)}\n`);
    expect(end.cpuUserSeconds).toBeGreaterThan(0);
  });

  test('what somebody takes back or away while the job runs is told too; a stricter limit is none the worse', async () => {
    const job = run('echo begun; exec sleep 1000', limited(50_000_000, 100));
    await job.grown(5);
    const [memory, pids] = made.map(({ folder }) => folder);
    writeFileSync(`${memory}/memory.limit_in_bytes`, '-1');
    writeFileSync(`${pids}/pids.max`, '50');
    job.execution.stop(0);
    expect((await job.ended).refusedLimits).toEqual(['memory.limit_in_bytes: changed meanwhile']);
  });

  test('what is refused is told by name, and the job runs', async () => {
    const job = run('true', (folder) => ({
      containment: {
        ...noContainment,
        rlimits: { NOFILE: 2 ** 50, CORE: 0, NOSUCH: 1 },
        cgroups: [
          plan('memory', folder, [['memory.limit_in_bytes', 'nonsense']]),
          { folder: '/sys/fs/cgroup/nowhere/x', version: 1, controllers: ['cpu', 'cpuacct'], settings: [] },
        ],
      },
    }));
    const { refusedLimits, exitCode } = await job.ended;
    expect(exitCode).toBe(0);
    expect([...refusedLimits].sort()).toEqual([
      'RLIMIT_NOFILE: EPERM',
      'RLIMIT_NOSUCH: EINVAL',
      'cgroup cpu,cpuacct: ENOENT',
      'memory.limit_in_bytes: EINVAL',
    ]);
  });

  test('after the death of its shim they find what has hidden itself, and are removed', async () => {
    const script = 'env -i setsid sh -c "sleep 1000 & sleep 1000" & echo $!; sleep 1000';
    const job = run(script, limited(1e9, 100));
    await job.grown(2);
    const procs = `${roots.pids}/flopd-${job.request.folder.split('/').at(-1)}/cgroup.procs`;
    await until(() => readFileSync(procs, 'utf8').trim().split('\n').length >= 4, 'all run', 20_000);
    const pids = readFileSync(procs, 'utf8').trim().split('\n').map(Number);
    process.kill(Number(shimOf(job.request.folder)), 'SIGKILL');
    expect(await job.ended).toMatchObject({
      kind: 'lost',
      detail: 'its shim was killed; what was left of the job was ended',
    });
    expect(pids.filter(isAlive)).toEqual([]);
  });
});
