// The container executor over a real podman: the contract, and what only containers can suffer.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createClock } from '../../../../src/base/clock.ts';
import { createSilentLog } from '../../../../src/base/log.ts';
import { createNames } from '../../../../src/dial/names.ts';
import {
  type ContainerExecutorOptions,
  createContainerExecutor,
} from '../../../../src/job/executor/container.ts';
import type { RegistryRules } from '../../../../src/job/executor/container-registry.ts';
import type { Executor } from '../../../../src/job/executor/executor.ts';
import { createProcessExecutor } from '../../../../src/job/executor/process.ts';
import { loadNative } from '../../../../src/native.ts';
import { createPodman, type Podman, podmanMissing, TEST_IMAGE } from '../../../fakes/podman.ts';
import { createRegistry, type Registry } from '../../../fakes/registry.ts';
import { createFakeTool } from '../../../fakes/tool.ts';
import { executorContract, recoverOf, shimOf } from './contract.ts';
import {
  addonPath,
  bootId,
  containedPath,
  freshFolder,
  isAlive,
  program,
  record,
  requestIn,
  runIn,
  shimPath,
  until,
} from './harness.ts';

const { native } = loadNative(addonPath);
const DEADLINE_MS = 30_000;

const rulesOf = (...registries: string[]): RegistryRules => ({
  registries,
  resolve: createNames({ clock: createClock(), log: createSilentLog() }).resolve,
  isProxied: () => false,
});

function createWith(runtime: string, more: Partial<ContainerExecutorOptions> = {}): Executor {
  const clock = createClock();
  const log = createSilentLog();
  const inner = createProcessExecutor({ shimPath, native, clock, log });
  const container = createContainerExecutor({
    inner,
    containedPath,
    nodeId: 'node-test',
    bootId,
    runtime,
    pull: 'never',
    registryRules: rulesOf('public'),
    pullTimeoutMs: DEADLINE_MS,
    processes: 1000,
    environment: process.env,
    onChange: () => {},
    clock,
    log,
    ...more,
  });
  return {
    ...container,
    close() {
      container.close();
      inner.close();
    },
  };
}

describe.skipIf(podmanMissing() !== null)('containers of podman', { timeout: 4 * DEADLINE_MS }, () => {
  let podman: Podman;
  let registry: Registry;
  beforeAll(async () => {
    podman = createPodman({ noisy: true });
    registry = await createRegistry(podman.imageTar, ['GREETING=hello', 'PATH=/bin:/of/the/image']);
  }, DEADLINE_MS);
  afterAll(async () => {
    await registry.close();
    podman.close();
  });
  const create = (more: Partial<ContainerExecutorOptions> = {}) =>
    createWith(podman.path, { registryRules: rulesOf('public', registry.host), ...more });
  const ofImage = (image: string) => ({ executor: 'container' as const, image });
  const inTestImage = ofImage(TEST_IMAGE);
  const stored = (at: { request: { folder: string } }, stream: string) =>
    readFileSync(join(at.request.folder, stream), 'utf8');
  /** Names of the containers of attempts of this test. */
  const left = (...jobs: { request: { jobId: string } }[]) =>
    podman.containers().filter((name) => jobs.some(({ request }) => name.includes(`${request.jobId}.`)));

  executorContract('container', create, undefined, {
    spec: inTestImage,
    ownPids: true,
    slowStart: true,
    brief: true,
    burst: 3,
    noisy: '/bin/noisy',
  });

  test('the container of a job is gone when its end is told', async () => {
    const executor = create();
    const job = runIn(executor, freshFolder(), { ...inTestImage, command: ['true'] });
    expect(await job.ended).toMatchObject({ kind: 'exited', exitCode: 0, detail: null });
    expect(left(job)).toEqual([]);
    executor.close();
  });

  test('a job has the user, memory, processes and network that it was given, and no privileges', async () => {
    const executor = create();
    const script = `id -u; id -g; ls /sys/class/net; grep -E "^(CapEff|CapPrm|NoNewPrivs)" /proc/self/status
      cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null; echo x > mine; ls /.flopd 2>&1`;
    const user = { uid: 2_000_000_123, gid: 2_000_000_123, groups: [] };
    const job = runIn(
      executor,
      freshFolder(),
      { ...inTestImage, command: ['sh', '-c', script], network: 'none', resources: { processes: 77 } },
      () => ({
        containment: { user, wrap: [], filtered: false, cgroups: [], rlimits: {}, limits: {}, isolation: {} },
      }),
    );
    await job.ended;
    expect(stored(job, 'stdout').split('\n').slice(0, 7)).toEqual([
      '2000000123',
      '2000000123',
      'lo',
      'CapPrm:\t0000000000000000',
      'CapEff:\t0000000000000000',
      'NoNewPrivs:\t1',
      '77',
    ]);
    expect(stored(job, 'stdout')).toContain('Permission denied');
    expect(statSync(join(job.request.folder, 'workspace', 'mine')).uid).toBe(2_000_000_123);
    executor.close();
  });

  test('the kernel’s kill for memory is told with its counters', async () => {
    const executor = create();
    const job = runIn(executor, freshFolder(), {
      ...inTestImage,
      command: ['sh', '-c', 'x=a; while :; do x=$x$x; done'],
      resources: { memoryBytes: 32 * 1024 * 1024 },
    });
    const end = await job.ended;
    expect(end).toMatchObject({ kind: 'signalled', signal: 9, stopped: null });
    expect(end.outOfMemory?.kills).toBeGreaterThan(0);
    executor.close();
  });

  test('a client that is killed takes its container with it, and the job is lost', async () => {
    const executor = create();
    const job = runIn(executor, freshFolder(), { ...inTestImage, command: [program('forever.sh')] });
    process.kill(await job.started, 'SIGKILL');
    const end = await job.ended;
    expect(end).toMatchObject({ kind: 'lost', exitCode: null });
    expect(end.detail).toContain('its podman client was killed by SIGKILL');
    expect(left(job)).toEqual([]);
    executor.close();
  });

  test('a shim that is killed while no agent runs leaves no container to the next agent', async () => {
    const first = create();
    const job = runIn(first, freshFolder(), { ...inTestImage, command: [program('forever.sh')] });
    await job.started;
    job.execution.detach();
    first.close();
    process.kill(Number(shimOf(job.request.folder)), 'SIGKILL');
    const executor = create();
    const again = record();
    executor.recover(recoverOf(job), again.events);
    const end = await again.ended;
    expect(end).toMatchObject({ kind: 'lost', exitCode: null });
    expect(end.detail).toContain('its shim was killed');
    expect(left(job)).toEqual([]);
    executor.close();
  });

  test('a container that nobody holds is removed by the next agent of this node, others stay', async () => {
    const start = (name: string, node: string, folder: string) =>
      podman.run(
        ...['run', '--detach', `--name=${name}`, '--network=none', `--label=flopd.node=${node}`],
        ...['--label=flopd.job=job-x', '--label=flopd.epoch=1', `--label=flopd.folder=${folder}`],
        ...[`--label=flopd.boot=${bootId}`, TEST_IMAGE, 'sleep', '1000'],
      );
    start('stray', 'node-stray', '/no/such/folder');
    start('foreign', 'node-other', '/no/such/folder');
    start('held', 'node-stray', freshFolder());
    const executor = create({ nodeId: 'node-stray' });
    await until(() => !podman.containers().includes('stray'), 'the stray container is gone', DEADLINE_MS);
    expect(podman.containers()).toEqual(expect.arrayContaining(['foreign', 'held']));
    for (const name of ['foreign', 'held']) podman.run('rm', '--force', '--time', '0', name);
    executor.close();
  });

  test('an image that is not here fails the start where none are pulled', async () => {
    const executor = create();
    const job = runIn(executor, freshFolder(), { ...ofImage('localhost/none:1'), command: ['true'] });
    expect(await job.ended).toMatchObject({
      kind: 'failedToStart',
      failedStep: 'image',
      detail: 'image localhost/none:1 is not here, and this node pulls none (jobs.pull is "never")',
    });
    expect(job.history).toEqual(['ended']);
    executor.close();
  });

  describe('an image that is pulled', () => {
    test('is pulled once for all who want it, with progress, and brings its environment', async () => {
      const executor = create({ pull: 'missing' });
      const image = `${registry.host}/shared:1`;
      registry.hold();
      const progress: string[] = [];
      const folder = freshFolder();
      const jobs = [1, 2].map(() => {
        const request = requestIn(folder, {
          ...ofImage(image),
          command: ['sh', '-c', 'echo $GREETING $PATH'],
        });
        const recorded = record();
        const events = { ...recorded.events, progress: (text: string) => void progress.push(text) };
        return { ...recorded, request, execution: executor.start(request, events) };
      });
      const isAsked = () => registry.asked.some((path) => path.includes('/shared/blobs/'));
      await until(isAsked, 'the layer is asked for', DEADLINE_MS);
      expect(progress.some((text) => text.startsWith(`pulling image ${image}`))).toBe(true);
      registry.release();
      for (const job of jobs) {
        expect(await job.ended).toMatchObject({ kind: 'exited', exitCode: 0 });
        expect(stored(job, 'stdout')).toBe('hello /bin:/of/the/image\n');
      }
      const manifests = registry.asked.filter((path) => path.includes('/shared/manifests/'));
      expect(new Set(manifests).size).toBe(1);
      executor.close();
    });

    test.each<[string, (host: string) => string, string]>([
      ['on this host', (host) => `${host}/forbidden:1`, '127.0.0.1:'],
      ['that is this host in another spelling', (host) => host.replace('127.0.0.1', '0x7f.1'), '127.0.0.1:'],
      ['whose name leads here', (host) => host.replace('127.0.0.1', 'localhost'), '(127.0.0.1)'],
    ])('is not pulled from a registry %s, which is not asked for anything (A36)', async (_, nameOf, told) => {
      const executor = create({ pull: 'missing', registryRules: rulesOf('public') });
      const name = nameOf(registry.host);
      const image = name.includes('/') ? name : `${name}/forbidden:1`;
      const job = runIn(executor, freshFolder(), { ...ofImage(image), command: ['true'] });
      const end = await job.ended;
      expect(end).toMatchObject({ kind: 'failedToStart', failedStep: 'image' });
      expect(end.detail).toContain(told);
      expect(end.detail).toContain('only if its operator lists it in jobs.registries');
      expect(registry.asked.filter((path) => path.includes('/forbidden/'))).toEqual([]);
      executor.close();
    });

    test('a registry whose name has another address by the time of the pull is not reached (A36)', async () => {
      const asked: string[] = [];
      const resolve = async (host: string) => {
        asked.push(host);
        return [{ address: asked.length === 1 ? '140.82.112.33' : '127.0.0.1' }];
      };
      const executor = create({ pull: 'missing', registryRules: { ...rulesOf('public'), resolve } });
      const image = `rebound.example:${registry.host.split(':')[1]}/forbidden:1`;
      const job = runIn(executor, freshFolder(), { ...ofImage(image), command: ['true'] });
      const end = await job.ended;
      expect(end).toMatchObject({ kind: 'failedToStart', failedStep: 'image' });
      expect(end.detail).toContain('does not connect to rebound.example (127.0.0.1)');
      expect(asked.length).toBeGreaterThan(1);
      expect(registry.asked.filter((path) => path.includes('/forbidden/'))).toEqual([]);
      executor.close();
    });

    test('a job that is stopped meanwhile never starts, and its pull ends', async () => {
      const executor = create({ pull: 'missing' });
      registry.hold();
      const job = runIn(executor, freshFolder(), {
        ...ofImage(`${registry.host}/stopped:1`),
        command: ['touch', 'ran'],
      });
      const isAsked = () => registry.asked.some((path) => path.includes('/stopped/'));
      await until(isAsked, 'the image is asked for', DEADLINE_MS);
      job.execution.stop(0);
      expect(await job.ended).toMatchObject({ kind: 'failedToStart', failedStep: 'claim' });
      registry.release();
      const later = record();
      executor.recover(recoverOf(job), later.events);
      expect(await later.ended).toMatchObject({ kind: 'failedToStart', failedStep: 'claim' });
      expect(existsSync(join(job.request.folder, 'workspace', 'ran'))).toBe(false);
      executor.close();
    });

    test('an agent that goes meanwhile leaves it to the next one, which starts the job once', async () => {
      const first = create({ pull: 'missing' });
      registry.hold();
      const job = runIn(first, freshFolder(), {
        ...ofImage(`${registry.host}/restarted:1`),
        command: ['sh', '-c', 'echo run >> count'],
      });
      const isAsked = () => registry.asked.some((path) => path.includes('/restarted/'));
      await until(isAsked, 'the image is asked for', DEADLINE_MS);
      job.execution.detach();
      first.close();
      registry.release();
      const executor = create({ pull: 'missing' });
      const again = record();
      executor.recover(recoverOf(job), again.events);
      expect(await again.ended).toMatchObject({ kind: 'exited', exitCode: 0 });
      expect(readFileSync(join(job.request.folder, 'workspace', 'count'), 'utf8')).toBe('run\n');
      executor.close();
    });

    test('and that nobody has fails the start with the words of the registry', async () => {
      const executor = create({ pull: 'missing' });
      const image = `${registry.host}/missing/x:1`;
      const job = runIn(executor, freshFolder(), { ...ofImage(image), command: ['true'] });
      const end = await job.ended;
      expect(end).toMatchObject({ kind: 'failedToStart', failedStep: 'image' });
      expect(end.detail).toMatch(
        new RegExp(`^image ${image} is not here and could not be pulled: .*manifest`),
      );
      executor.close();
    });
  });
});

describe('without a runtime that works', () => {
  const probed = async (executor: Executor): Promise<string | null> => {
    await executor.probed?.();
    const problem = executor.probe();
    executor.close();
    return problem;
  };

  test('it is said which is missing, and what to do', async () => {
    const environment = { PATH: freshFolder() };
    expect(await probed(createWith('auto', { environment }))).toContain('podman or docker is not on PATH');
    expect(await probed(createWith('none'))).toContain('switched off');
    expect(await probed(createWith('/no/such/podman'))).toContain('jobs.containerRuntime');
    const unbuilt = createWith('none', { containedPath: '/no/such/file' });
    expect(await probed(unbuilt)).toContain('npm run build');
  });

  test('a daemon that does not answer is told in its own words, and comes back by itself', async () => {
    const tool = createFakeTool('docker', [
      { args: '*version*', stderr: 'Cannot connect to the Docker daemon\n', exitCode: 1 },
    ]);
    const environment = { PATH: `${tool.folder}:/usr/bin:/bin` };
    const executor = createWith('docker', { environment });
    await executor.probed?.();
    expect(executor.probe()).toContain(
      'docker does not answer: Cannot connect to the Docker daemon; start it',
    );
    executor.close();
    tool.answer([{ args: '*version*', stdout: '28.2.2\n' }]);
    expect(await probed(createWith('docker', { environment }))).toBeNull();
    tool.close();
  });

  test('a job of docker: looked up, run, asked after and removed; a failure has docker’s words', async () => {
    const id = `sha256:${'a'.repeat(64)}`;
    const tool = createFakeTool('docker', [
      { args: '*version*', stdout: '28.2.2\n' },
      { args: '* ps *', stdout: '' },
      { args: '*image inspect*', stdout: `${id} ["A=1"]\n` },
      {
        args: '* run *',
        stderr: 'docker: Error response from daemon: could not select device driver.\n',
        exitCode: 125,
      },
      { args: '* inspect *', stdout: '{"Running":false,"ExitCode":0,"OOMKilled":false,"Error":""}\n' },
      { args: '* rm *', stdout: 'flopd\n' },
    ]);
    const executor = createWith('docker', { environment: { PATH: `${tool.folder}:/usr/bin:/bin` } });
    const job = runIn(executor, freshFolder(), { executor: 'container', image: 'x:1', command: ['true'] });
    expect(await job.ended).toMatchObject({
      kind: 'failedToStart',
      failedStep: 'container',
      detail: 'docker: could not select device driver.',
    });
    const verbs = tool.calls().map((call) => /(?:image inspect|run|inspect|rm|ps|version)\b/.exec(call)?.[0]);
    expect(verbs.filter((verb) => verb !== 'ps')).toEqual([
      'version',
      'image inspect',
      'run',
      'inspect',
      'rm',
    ]);
    executor.close();
    tool.close();
  });
});

test('the first process of a container refuses to be anything else', () => {
  const { status, stderr } = spawnSync(containedPath, ['/tmp'], { encoding: 'utf8' });
  expect([status, stderr.includes('first process of a container')]).toEqual([125, true]);
  expect(isAlive(process.pid)).toBe(true);
});
