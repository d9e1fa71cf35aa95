// Users of jobs and their walls over the lives of an agent.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { HostFacts, JobRules } from '../../../src/job/containment/host.ts';
import { createWalls } from '../../../src/job/containment/walls.ts';
import type { StartRequest } from '../../../src/job/executor/executor.ts';
import { processEnd, startOrder } from './samples.ts';
import { createRoom, openRoom, type Room } from './scripted.ts';

const rules: JobRules = {
  sandbox: 'auto',
  seccomp: 'auto',
  limits: 'auto',
  user: 'auto',
  userRange: { from: 100, to: 102 },
  processes: 64,
  readPaths: [],
  writePaths: [],
  outputQuotaBytes: 1000,
};
const facts: HostFacts = {
  uid: 0,
  usersProblem: null,
  sandbox: {
    program: '/bin/sh',
    mode: 'root',
    changesUser: true,
    hidden: ['/tmp'],
    masked: [],
    readPaths: [],
    writePaths: [],
    stateDir: '/var/lib/flopd',
    build: '/opt',
  },
  filterProblem: null,
  cgroups: { bases: [], problems: [], shimsLeaf: null, renewed: () => facts.cgroups },
  disk: { problem: 'no disk' },
};
const wallsOf = (change: Partial<HostFacts> = {}) =>
  createWalls(rules, { ...facts, ...change }, '/nowhere', () => 0);
const life = (room: Room, change: Partial<HostFacts> = {}) => openRoom(room, { walls: wallsOf(change) });
const userOf = (request: object): number | undefined => (request as StartRequest).containment.user?.uid;
const small = { resources: { cpus: 0.1 } };

test('each attempt has a user of its own, over restarts, until its folder is gone; then others may have it', async () => {
  const room = createRoom();
  const first = await life(room);
  for (const id of ['job-1', 'job-2']) await first.jobs.start(startOrder(id, 1, small));
  expect(['job-1.1', 'job-2.1'].map((name) => userOf(first.run(name).request))).toEqual([100, 101]);
  await first.jobs.close();

  const second = await life(room);
  await second.jobs.start(startOrder('job-3', 1, small));
  expect(userOf(second.run('job-3.1').request)).toBe(102);
  expect(await second.jobs.start(startOrder('job-4', 1, small))).toMatchObject({
    outcome: 'refused',
    code: 'JOB_USERS_BUSY',
  });
  second.run('job-1.1').events.ended(processEnd());
  await second.jobs.close();
  expect(room.results.find(({ jobId }) => jobId === 'job-1')?.isolation).toMatchObject({ user: 'uid 100' });

  const third = await life(room);
  expect(await third.jobs.start(startOrder('job-5', 1, small))).toMatchObject({ code: 'JOB_USERS_BUSY' });
  third.jobs.acknowledged('job-1', 1);
  await third.jobs.close();
  const fourth = await life(room);
  await fourth.jobs.start(startOrder('job-6', 1, small));
  expect(userOf(fourth.run('job-6.1').request)).toBe(100);
  await fourth.jobs.close();
});

test('a job of the node’s output quota or its own, whichever is less', async () => {
  const room = createRoom();
  const { jobs, run } = await life(room);
  await jobs.start(startOrder('job-1', 1, { ...small, outputQuotaBytes: 5000 }));
  await jobs.start(startOrder('job-2', 1, small));
  const quotas = ['job-1.1', 'job-2.1'].map((name) => (run(name).request as StartRequest).outputQuotaBytes);
  expect(quotas).toEqual([1000, 1000]);
  await jobs.close();
});

test('an attempt that never began does not begin behind weaker walls than it was accepted for', async () => {
  const room = createRoom();
  const first = await life(room);
  await first.jobs.start(startOrder('job-1', 1, small));
  await first.jobs.close();
  const same = await life(room);
  expect((same.run('job-1.1').request as { start: unknown }).start).not.toBeNull();
  await same.jobs.close();
  const weaker = await life(room, { sandbox: { problem: 'bubblewrap is gone' } });
  expect((weaker.run('job-1.1').request as { start: unknown }).start).toBeNull();
  weaker.run('job-1.1').events.ended(processEnd());
  await weaker.jobs.close();
  // What is told is what it was started with.
  expect(room.results.at(-1)?.isolation).toMatchObject({ sandbox: 'bubblewrap' });
});

test('an attempt that an earlier flopd accepted begins behind its walls and one that this one adds', async () => {
  const room = createRoom();
  const walls = wallsOf();
  const before: typeof walls = {
    ...walls,
    contain(...given) {
      const { isolation, ...rest } = walls.contain(...given);
      const { systemCalls: _, ...known } = isolation;
      return { ...rest, isolation: known };
    },
  };
  const first = await openRoom(room, { walls: before });
  await first.jobs.start(startOrder('job-1', 1, small));
  await first.jobs.close();
  const second = await life(room);
  expect((second.run('job-1.1').request as { start: unknown }).start).not.toBeNull();
  await second.jobs.close();
});

test('what an operator requires and the host lacks refuses the order for good, with the code', async () => {
  const room = createRoom();
  const walls = createWalls(
    { ...rules, sandbox: 'require' },
    { ...facts, sandbox: { problem: 'bubblewrap is not here' } },
    join(room.folder, 'jobs'),
  );
  mkdirSync(join(room.folder, 'jobs'), { recursive: true });
  const { jobs, runs } = await openRoom(room, { walls });
  for (let i = 0; i < 2; i++)
    expect(await jobs.start(startOrder('job-1', 1, small))).toMatchObject({ code: 'JOB_SANDBOX_MISSING' });
  expect(runs).toEqual([]);
  expect(walls.limitations()[0]).toContain('no jobs through executor process');
  await jobs.close();
});
