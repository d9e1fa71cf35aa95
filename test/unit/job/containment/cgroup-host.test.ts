import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openCgroups } from '../../../../src/job/containment/cgroup-host.ts';

/** A host as its files show it: version 2 alone, the agent a service beside the unit that holds groups. */
let root: string;
const slice = () => join(root, 'sys/fs/cgroup/flopd.slice/flopd-jobs.slice');
const unit = () => join(slice(), 'flopd-groups.service');

function layUnit(): void {
  mkdirSync(unit(), { recursive: true });
  writeFileSync(join(unit(), 'cgroup.controllers'), 'cpuset cpu io memory pids\n');
  writeFileSync(join(unit(), 'cgroup.subtree_control'), '');
  writeFileSync(join(unit(), 'cgroup.procs'), '317\n');
}

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'flopd-cgroups-'));
  const own = join(slice(), 'flopd-node.service');
  mkdirSync(own, { recursive: true });
  mkdirSync(join(root, 'proc/self'), { recursive: true });
  for (const folder of [join(root, 'sys/fs/cgroup'), own])
    writeFileSync(join(folder, 'cgroup.controllers'), 'cpu io memory pids\n');
  writeFileSync(
    join(root, 'proc/self/mountinfo'),
    '31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n',
  );
  writeFileSync(join(root, 'proc/self/cgroup'), '0::/flopd.slice/flopd-jobs.slice/flopd-node.service\n');
  layUnit();
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

/** What the kernel makes of writes. */
const tools = {
  makeFolder: (folder: string) => void mkdirSync(folder, { recursive: true }),
  write(path: string, text: string) {
    const isList = path.endsWith('subtree_control');
    writeFileSync(path, isList ? `${readFileSync(path, 'utf8')}${text.slice(1)} ` : text);
  },
  read: (path: string) => readFileSync(path, 'utf8'),
};
const open = (look = false) =>
  openCgroups(
    {
      procRoot: join(root, 'proc'),
      sysRoot: join(root, 'sys'),
      pid: 42,
      isRoot: false,
      isService: true,
      trial: () => ['memory.max'],
      tools,
    },
    look,
  );

test('groups of jobs are made in the unit beside the agent, and what slept in it moves below', () => {
  const host = open();
  expect(host.bases).toEqual([
    {
      folder: unit(),
      version: 2,
      controllers: ['cpu', 'memory', 'pids', 'io'],
      files: new Set(['memory.max']),
    },
  ]);
  expect(host.problems).toEqual([]);
  expect(host.shimsLeaf).toBe(join(unit(), 'shims'));
  expect(readFileSync(join(unit(), 'shims/cgroup.procs'), 'utf8')).toBe('317');
});

test('a unit that was started again is prepared again, and only then', () => {
  const host = open();
  expect(host.renewed()).toBe(host);
  rmSync(unit(), { recursive: true });
  layUnit();
  const renewed = host.renewed();
  expect(renewed).not.toBe(host);
  expect(renewed.bases).toEqual(host.bases);
  expect(readFileSync(join(unit(), 'cgroup.subtree_control'), 'utf8')).toContain('memory');
});

test('a look changes nothing', () => {
  const host = open(true);
  expect(host.bases).toMatchObject([{ folder: unit(), controllers: ['cpu', 'memory', 'pids', 'io'] }]);
  expect(existsSync(join(unit(), 'shims'))).toBe(false);
  expect(readFileSync(join(unit(), 'cgroup.subtree_control'), 'utf8')).toBe('');
});
