// Inputs and outputs of the job room against the real routes of the scheduler's store, with an executor by script.
import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { createClock } from '../../../src/base/clock.ts';
import type { Jobs } from '../../../src/job/job.ts';
import { encodeEntry, TREE_HEAD } from '../../../src/protocol/files.ts';
import type { JobSpecInput } from '../../../src/protocol/spec.ts';
import { digestOf } from '../../unit/files/parts.ts';
import { processEnd, startOrder, stopOrder } from '../../unit/job/samples.ts';
import { createRoom, openRoom, type Room } from '../../unit/job/scripted.ts';
import { type StoreServer, startStoreServer } from './store-server.ts';

const POLL = { timeout: 20_000, interval: 10 };
const workspaceOf = (room: Room) => join(room.folder, 'jobs', 'job-1.1', 'workspace');

async function open(room: Room, server: StoreServer, cacheBytes = 1e9) {
  const opened = await openRoom(room, {
    clock: createClock(),
    files: { cacheBytes, access: () => server.access },
  });
  let isOpen = true;
  const close = async (): Promise<void> => {
    if (isOpen) await opened.jobs.close();
    isOpen = false;
  };
  onTestFinished(close);
  return { ...opened, close };
}

const input = (path: string, text: string, kind: 'file' | 'tree' = 'file', sizeBytes = text.length) => ({
  path,
  kind,
  digest: digestOf(text),
  sizeBytes,
});

function treeOf(files: Readonly<Record<string, string>>): string {
  const lines = Object.entries(files).map(([path, text]) =>
    encodeEntry({ kind: 'file', path, sizeBytes: text.length, digest: digestOf(text), executable: true }),
  );
  return TREE_HEAD + lines.join('');
}

async function ended(room: Room, jobs: Jobs) {
  await expect.poll(() => room.results.length, POLL).toBe(1);
  expect(jobs.unsettled()).toHaveLength(1);
  return room.results[0];
}

describe('inputs', () => {
  const list = treeOf({ a: 'alpha', b: 'beta', c: '' });
  const spec: Partial<JobSpecInput> = {
    inputs: [input('one', 'first'), input('deep/tree', list, 'tree', 9)],
  };

  async function filledServer(): Promise<StoreServer> {
    const server = await startStoreServer();
    for (const text of ['first', list, 'alpha', 'beta', '']) await server.has(text);
    return server;
  }

  test('lie in the workspace before the program starts, and the second job gets them from the cache', async () => {
    const room = createRoom();
    const server = await filledServer();
    const { jobs, runs, run } = await open(room, server);
    expect(await jobs.start(startOrder('job-1', 1, spec))).toMatchObject({ outcome: 'accepted' });
    await expect.poll(() => runs.length, POLL).toBe(1);
    const workspace = workspaceOf(room);
    expect(readFileSync(join(workspace, 'one'), 'utf8')).toBe('first');
    expect(readdirSync(join(workspace, 'deep', 'tree'))).toEqual(['a', 'b', 'c']);
    expect(readFileSync(join(workspace, 'deep', 'tree', 'b'), 'utf8')).toBe('beta');
    // What a job does to its copy is not what the next one gets.
    writeFileSync(join(workspace, 'one'), 'changed');
    run('job-1.1').events.ended(processEnd());
    const before = server.requests.length;
    await jobs.start(startOrder('job-2', 1, spec));
    await expect.poll(() => runs.length, POLL).toBe(2);
    expect(readFileSync(join(room.folder, 'jobs', 'job-2.1', 'workspace', 'one'), 'utf8')).toBe('first');
    expect(server.requests.slice(before)).toEqual([]);
  });

  test('that the scheduler does not have are a failed start with path and reason', async () => {
    const room = createRoom();
    const { jobs, runs } = await open(room, await startStoreServer());
    await jobs.start(startOrder('job-1', 1, { inputs: [input('data/x', 'nowhere')] }));
    const result = await ended(room, jobs);
    expect(result).toMatchObject({ state: 'FAILED_TO_START', endKind: 'failedToStart', outputs: [] });
    expect(result?.cause).toMatch(
      /^failed to start: input "data\/x": the store of files does not have [0-9a-f]{64}/,
    );
    expect(runs).toEqual([]);
  });

  test('larger than the cache of the node are a failed start that says so', async () => {
    const room = createRoom();
    const { jobs } = await open(room, await filledServer(), 4);
    await jobs.start(startOrder('job-1', 1, spec));
    expect((await ended(room, jobs))?.cause).toContain('are more than the whole quota of 4');
  });

  test('are waited for while the scheduler is away, told in the sentence, and a stop ends the waiting', async () => {
    const room = createRoom();
    const server = await filledServer();
    server.trouble = 'refused';
    const { jobs, runs } = await open(room, server);
    await jobs.start(startOrder('job-1', 1, spec));
    await expect.poll(() => server.requests.length, POLL).toBeGreaterThan(2);
    expect(await jobs.stop(stopOrder('job-1'))).toMatchObject({ outcome: 'accepted' });
    expect(await ended(room, jobs)).toMatchObject({
      state: 'CANCELLED',
      cause: 'cancelled by alice before it started: enough',
    });
    expect(runs).toEqual([]);
  });

  test('are gone on with where they broke off, by the next agent as well, and the job starts once', async () => {
    const room = createRoom();
    const server = await startStoreServer();
    const text = 'x'.repeat(2_000_000);
    await server.has(text);
    server.trouble = 700_000;
    const first = await open(room, server);
    await first.jobs.start(startOrder('job-1', 1, { inputs: [input('big', text)] }));
    const part = join(room.folder, 'files', `${digestOf(text)}.part`);
    await expect.poll(() => readFileSync(part).length, POLL).toBeGreaterThan(0);
    await first.close();
    expect(first.runs).toEqual([]);
    server.trouble = null;
    writeFileSync(join(workspaceOf(room), 'half'), 'left by the first');
    const second = await open(room, server);
    await expect
      .poll(() => second.runs.map(({ name, how }) => `${name} ${how}`), POLL)
      .toEqual(['job-1.1 started']);
    expect(readdirSync(workspaceOf(room))).toEqual(['big']);
    expect(room.history.some((line) => /^progress job-1.1 fetching inputs, .* of 2.0 MB$/.test(line))).toBe(
      true,
    );
    await second.close();
    // Staged, and begun for all that is known: from here on the executor decides.
    const third = await open(room, server);
    expect(third.runs.map(({ name, how }) => `${name} ${how}`)).toEqual(['job-1.1 recovered']);
  });

  test('from a damaged cache are found out and fetched again', async () => {
    const room = createRoom();
    const server = await filledServer();
    const { jobs, runs } = await open(room, server);
    await jobs.start(startOrder('job-1', 1, spec));
    await expect.poll(() => runs.length, POLL).toBe(1);
    writeFileSync(join(room.folder, 'files', digestOf('alpha')), 'omega');
    await jobs.start(startOrder('job-2', 1, { ...spec, resources: { cpus: 0.5 } }));
    await expect.poll(() => runs.length, POLL).toBe(2);
    const tree = join(room.folder, 'jobs', 'job-2.1', 'workspace', 'deep', 'tree');
    expect(readFileSync(join(tree, 'a'), 'utf8')).toBe('alpha');
  });
});

describe('outputs', () => {
  const outputs = ['out', 'one', 'gone', 'link', 'out/deep/f'];

  /** A job that ended and left files. */
  async function endJob(room: Room, server: StoreServer) {
    const opened = await open(room, server);
    await opened.jobs.start(startOrder('job-1', 1, { outputs }));
    const workspace = workspaceOf(room);
    mkdirSync(join(workspace, 'out', 'deep'), { recursive: true });
    writeFileSync(join(workspace, 'out', 'deep', 'f'), 'deep');
    writeFileSync(join(workspace, 'one'), 'first', { mode: 0o755 });
    symlinkSync('/etc/passwd', join(workspace, 'link'));
    symlinkSync('/etc/passwd', join(workspace, 'out', 'stray'));
    opened.run('job-1.1').events.ended(processEnd());
    await expect.poll(() => room.results.length, POLL).toBe(1);
    return opened;
  }

  test('are named in the result, with what could not be kept', async () => {
    const room = createRoom();
    await endJob(room, await startStoreServer());
    const [out, one, gone, link, inner] = room.results[0]?.outputs ?? [];
    expect(out).toMatchObject({ kind: 'tree', sizeBytes: 4, problem: 'a link out of it left out: stray' });
    expect(one).toEqual({
      path: 'one',
      kind: 'file',
      digest: digestOf('first'),
      sizeBytes: 5,
      executable: true,
      problem: null,
    });
    expect(gone).toMatchObject({ kind: null, digest: null, problem: 'no such file or folder' });
    expect(link).toMatchObject({
      digest: null,
      problem: 'a part of its path is a link, and links are not followed',
    });
    expect(inner).toMatchObject({ kind: 'file', digest: digestOf('deep') });
  });

  test('are brought when the result is acknowledged, by the next agent if need be; the folder waits for it', async () => {
    const room = createRoom();
    const server = await startStoreServer();
    server.trouble = 'refused';
    const first = await endJob(room, server);
    first.jobs.acknowledged('job-1', 1);
    await expect.poll(() => server.requests.length, POLL).toBeGreaterThan(1);
    await first.close();
    rmSync(workspaceOf(room), { recursive: true });
    server.trouble = null;
    const second = await open(room, server);
    await expect.poll(() => readdirSync(join(room.folder, 'jobs')), POLL).toEqual([]);
    for (const text of ['first', 'deep']) expect(server.store.sizeOf(digestOf(text))).toBe(text.length);
    const [tree] = room.results[0]?.outputs ?? [];
    expect(server.store.sizeOf(tree?.digest ?? '')).not.toBeNull();
    expect(second.jobs.held()).toEqual([]);
  });

  test('that nobody names any more are given up', async () => {
    const room = createRoom();
    const server = await startStoreServer();
    const { jobs } = await endJob(room, server);
    rmSync(join(room.folder, 'files'), { recursive: true });
    jobs.acknowledged('job-1', 1);
    await expect.poll(() => readdirSync(join(room.folder, 'jobs')), POLL).toEqual([]);
  });
});

test('a workspace that is to be kept stays, is told, and goes when its time is over', async () => {
  const room = createRoom();
  const server = await startStoreServer();
  const first = await open(room, server);
  const keepWorkspace = { when: 'failed' as const, forMs: 3600_000 };
  await first.jobs.start(startOrder('job-1', 1, { keepWorkspace }));
  first.run('job-1.1').events.ended(processEnd({ exitCode: 1, endedAtMs: Date.now() }));
  const result = await ended(room, first.jobs);
  expect(result?.workspace?.path).toBe(workspaceOf(room));
  expect(result?.workspace?.untilMs).toBeGreaterThan(Date.now() + 3_000_000);
  first.jobs.acknowledged('job-1', 1);
  await first.close();
  expect(readdirSync(join(room.folder, 'jobs'))).toEqual(['job-1.1']);
  const later = { ...createClock(), wallMs: () => Date.now() + 3_700_000 };
  const second = await openRoom(room, { clock: later });
  await expect.poll(() => readdirSync(join(room.folder, 'jobs')), POLL).toEqual([]);
  await second.jobs.close();
});
