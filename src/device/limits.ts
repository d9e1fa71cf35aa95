// What this process may use of the machine: CPUs by its affinity and the quotas of its cgroups, memory by their
// limits, in cgroup v2, v1 and the hybrid of both. The least of a group and all groups above it holds.
import { join } from 'node:path';
import { readText } from '../base/text-file.ts';
import { isBelow, type Mount, parseMountinfo } from './mountinfo.ts';

/** cgroup v1 writes "no limit" as the largest multiple of the page size. */
const UNLIMITED_BYTES = 2 ** 60;

export interface Limits {
  /** CPUs that the scheduler may place this process on; null where the kernel does not say. */
  readonly affinityCpus: number | null;
  /** CPU quota in cores; null for none. */
  readonly cgroupCpus: number | null;
  readonly cgroupMemoryBytes: number | null;
}

export function readLimits(procRoot: string, sysRoot: string): Limits {
  const mounts = parseMountinfo(readText(join(procRoot, 'self', 'mountinfo')) ?? '');
  const groups = parseCgroups(readText(join(procRoot, 'self', 'cgroup')) ?? '');
  const folders = (controller: string) => groupFolders(mounts, groups, controller, sysRoot);
  const cpu = folders('cpu');
  const memory = folders('memory');
  return {
    affinityCpus: parseAffinity(readText(join(procRoot, 'self', 'status')) ?? ''),
    cgroupCpus: least([
      ...cpu.v2.map((folder) => parseCpuMax(readText(join(folder, 'cpu.max')))),
      ...cpu.v1.map((folder) =>
        parseQuota(readText(join(folder, 'cpu.cfs_quota_us')), readText(join(folder, 'cpu.cfs_period_us'))),
      ),
    ]),
    cgroupMemoryBytes: least([
      ...memory.v2.map((folder) => parseBytes(readText(join(folder, 'memory.max')))),
      ...memory.v1.map((folder) => parseBytes(readText(join(folder, 'memory.limit_in_bytes')))),
    ]),
  };
}

/** Path of this process per controller; the empty name is the v2 hierarchy. */
function parseCgroups(text: string): Map<string, string> {
  const groups = new Map<string, string>();
  for (const line of text.split('\n')) {
    const match = /^\d+:([^:]*):(\/.*)$/.exec(line);
    if (match === null) continue;
    for (const controller of (match[1] ?? '').split(',')) groups.set(controller, match[2] ?? '/');
  }
  return groups;
}

/** Folders of the process's group and of all groups above it that this mount shows, in either version. */
function groupFolders(
  mounts: readonly Mount[],
  groups: ReadonlyMap<string, string>,
  controller: string,
  sysRoot: string,
): { v1: string[]; v2: string[] } {
  const folders = (wanted: (mount: Mount) => boolean, group: string | undefined): string[] => {
    const mount = mounts.findLast(wanted);
    if (mount === undefined || group === undefined) return [];
    // Within a container the path may lie outside of what is mounted; the mount is then the group itself.
    const below = isBelow(group, mount.root) ? group.slice(mount.root === '/' ? 0 : mount.root.length) : '';
    const point = mount.point.startsWith('/sys/') ? join(sysRoot, mount.point.slice(5)) : mount.point;
    const names = below.split('/').filter((name) => name !== '');
    return names.some((name) => name === '..')
      ? [point]
      : [point, ...names.map((_, at) => join(point, ...names.slice(0, at + 1)))];
  };
  return {
    v1: folders(
      ({ type, superOptions }) => type === 'cgroup' && superOptions.includes(controller),
      groups.get(controller),
    ),
    v2: folders(({ type }) => type === 'cgroup2', groups.get('')),
  };
}

function parseCpuMax(text: string | null): number | null {
  const [quota, period] = (text ?? '').trim().split(' ');
  return parseQuota(quota ?? null, period ?? null);
}

function parseQuota(quota: string | null, period: string | null): number | null {
  const cores = Number(quota ?? Number.NaN) / Number(period ?? Number.NaN);
  return Number.isFinite(cores) && cores > 0 ? cores : null;
}

function parseBytes(text: string | null): number | null {
  const bytes = Number(text?.trim() || Number.NaN);
  return Number.isFinite(bytes) && bytes > 0 && bytes < UNLIMITED_BYTES ? bytes : null;
}

/** Number of CPUs in `Cpus_allowed_list`, e.g. `0-3,8`. */
function parseAffinity(status: string): number | null {
  const list = /^Cpus_allowed_list:\s*(\S+)$/m.exec(status)?.[1];
  if (list === undefined) return null;
  let count = 0;
  for (const range of list.split(',')) {
    const [first, last = first] = range.split('-').map(Number);
    if (first === undefined || last === undefined || !(last >= first)) return null;
    count += last - first + 1;
  }
  return count;
}

function least(values: readonly (number | null)[]): number | null {
  const known = values.filter((value) => value !== null);
  return known.length === 0 ? null : Math.min(...known);
}
