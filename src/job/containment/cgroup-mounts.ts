// Where the kernel shows the control groups of this process: parsed from /proc/self/mountinfo and /proc/self/cgroup.
// Pure. A hybrid host has both versions; a controller acts in one of them only.
import { join, relative } from 'node:path';

export interface CgroupMount {
  readonly version: 1 | 2;
  /** Of version 1: `memory`, `cpu`, …; `name=systemd` has none. */
  readonly controllers: readonly string[];
  readonly mountPoint: string;
  /** The group that the mount point shows, seen from the root of the namespace. */
  readonly root: string;
}

/** A group that this process is in, as a folder. */
export interface OwnGroup {
  readonly version: 1 | 2;
  readonly controllers: readonly string[];
  readonly folder: string;
  /** The mount that it was found through. */
  readonly mountPoint: string;
}

const escapes: Readonly<Record<string, string>> = { '040': ' ', '011': '\t', '012': '\n', '134': '\\' };
const plain = (text: string): string =>
  text.replace(/\\(\d{3})/g, (all, code: string) => escapes[code] ?? all);
const FLAGS = new Set(['rw', 'ro', 'noprefix', 'clone_children', 'xattr', 'all', 'none']);

export function parseCgroupMounts(mountinfo: string): CgroupMount[] {
  const found: CgroupMount[] = [];
  for (const line of mountinfo.split('\n')) {
    // 31 23 0:28 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
    const [before = '', after = ''] = line.split(' - ');
    const [, , , root, mountPoint] = before.split(' ');
    const [type, , options = ''] = after.split(' ');
    if (root === undefined || mountPoint === undefined || (type !== 'cgroup' && type !== 'cgroup2')) continue;
    const version = type === 'cgroup2' ? 2 : 1;
    const controllers =
      version === 2 ? [] : options.split(',').filter((word) => !FLAGS.has(word) && !word.includes('='));
    found.push({ version, controllers, mountPoint: plain(mountPoint), root: plain(root) });
  }
  return found;
}

/** Paths of /proc/self/cgroup by controller; `` for version 2. */
export function parseOwnPaths(text: string): ReadonlyMap<string, string> {
  const paths = new Map<string, string>();
  for (const line of text.split('\n')) {
    const [, , controllers, path] = /^(\d+):([^:]*):(\/.*)$/.exec(line) ?? [];
    if (controllers === undefined || path === undefined) continue;
    for (const controller of controllers.split(',')) paths.set(controller, path);
  }
  return paths;
}

/** The groups of this process that have a folder. `sysRoot` stands for /sys. */
export function findOwnGroups(mountinfo: string, cgroup: string, sysRoot: string): OwnGroup[] {
  const paths = parseOwnPaths(cgroup);
  const found: OwnGroup[] = [];
  for (const { version, controllers, mountPoint, root } of parseCgroupMounts(mountinfo)) {
    if (version === 1 && controllers.length === 0) continue;
    const path = paths.get(version === 2 ? '' : (controllers[0] ?? ''));
    if (path === undefined || found.some((one) => sameControllers(one, version, controllers))) continue;
    const place = mountPoint.startsWith('/sys/')
      ? join(sysRoot, mountPoint.slice('/sys'.length))
      : mountPoint;
    const below = relative(root, path);
    // A mount of some other part of the tree shows nothing of ours but, in a container, its top.
    const folder = below.startsWith('..') ? place : join(place, below);
    found.push({ version, controllers, folder, mountPoint: place });
  }
  return found;
}

function sameControllers(one: OwnGroup, version: 1 | 2, controllers: readonly string[]): boolean {
  return one.version === version && one.controllers.join() === controllers.join();
}
