import { describe, expect, test } from 'vitest';
import type { CgroupBase } from '../../../../src/job/containment/cgroup-host.ts';
import {
  heldLimits,
  type LimitRequest,
  missingLimits,
  planLimits,
} from '../../../../src/job/containment/limits.ts';
import { resourcesSchema } from '../../../../src/protocol/spec.ts';

const base = (version: 1 | 2, folder: string, controllers: string[], files: string[]): CgroupBase => ({
  version,
  folder,
  controllers,
  files: new Set(files),
});
const v2 = base(
  2,
  '/cg',
  ['cpu', 'memory', 'pids', 'io'],
  ['cgroup.kill', 'cpu.max', 'memory.max', 'memory.swap.max', 'memory.oom.group', 'pids.max', 'io.max'],
);
const v1 = [
  base(1, '/cpu', ['cpu'], ['cpu.cfs_period_us', 'cpu.cfs_quota_us']),
  base(1, '/cpuacct', ['cpuacct'], []),
  base(1, '/memory', ['memory'], ['memory.limit_in_bytes']),
  base(1, '/pids', ['pids'], ['pids.max']),
  base(1, '/blkio', ['blkio'], ['blkio.throttle.read_bps_device', 'blkio.throttle.write_bps_device']),
  base(2, '/unified', [], ['cgroup.kill']),
];
const everything = {
  cpus: 1.5,
  memoryBytes: 1000,
  processes: 7,
  diskReadBytesPerSecond: 2048,
  diskWriteBytesPerSecond: 4096,
};
const plan = (bases: readonly CgroupBase[], asked: object, change: Partial<LimitRequest> = {}) =>
  planLimits({
    name: 'flopd.job-1.1',
    resources: resourcesSchema.parse(asked),
    processes: 4096,
    cgroups: { bases, problems: [] },
    disk: { number: '8:0' },
    ownUser: true,
    ...change,
  });

describe('what holds which limit', () => {
  test('version 2: one group with all of it', () => {
    const { cgroups, limits, rlimits } = plan([v2], everything);
    expect(cgroups).toEqual([
      {
        folder: '/cg/flopd.job-1.1',
        version: 2,
        controllers: ['cpu', 'memory', 'pids', 'io'],
        settings: [
          ['cpu.max', '150000 100000'],
          ['memory.max', '1000'],
          ['memory.swap.max', '0'],
          ['memory.oom.group', '1'],
          ['pids.max', '7'],
          ['io.max', '8:0 rbps=2048'],
          ['io.max', '8:0 wbps=4096'],
        ],
      },
    ]);
    expect(new Set(Object.values(limits))).toEqual(new Set(['cgroup-v2']));
    expect(rlimits).toEqual({ CORE: 0 });
  });

  test('version 1: one group per hierarchy, and one of version 2 that only gathers', () => {
    const { cgroups, limits } = plan(v1, everything);
    expect(cgroups.map(({ folder, settings }) => [folder, settings])).toEqual([
      [
        '/cpu/flopd.job-1.1',
        [
          ['cpu.cfs_period_us', '100000'],
          ['cpu.cfs_quota_us', '150000'],
        ],
      ],
      ['/cpuacct/flopd.job-1.1', []],
      ['/memory/flopd.job-1.1', [['memory.limit_in_bytes', '1000']]],
      ['/pids/flopd.job-1.1', [['pids.max', '7']]],
      [
        '/blkio/flopd.job-1.1',
        [
          ['blkio.throttle.read_bps_device', '8:0 2048'],
          ['blkio.throttle.write_bps_device', '8:0 4096'],
        ],
      ],
      ['/unified/flopd.job-1.1', []],
    ]);
    expect(limits).toEqual({
      cpus: 'cgroup-v1',
      memory: 'cgroup-v1',
      processes: 'cgroup-v1',
      diskRead: 'cgroup-v1',
      diskWrite: 'cgroup-v1 (direct writes only)',
    });
  });

  test('what is not asked for is not limited, but memory is counted and processes have the limit of the node', () => {
    const { cgroups, limits } = plan(v1, {});
    expect(cgroups.map(({ folder }) => folder)).toEqual(
      ['cpu', 'cpuacct', 'memory', 'pids', 'unified'].map((name) => `/${name}/flopd.job-1.1`),
    );
    expect(cgroups.find(({ folder }) => folder.startsWith('/pids'))?.settings).toEqual([
      ['pids.max', '4096'],
    ]);
    expect(limits).toEqual({ cpus: 'cgroup-v1', processes: 'cgroup-v1' });
  });

  test('without groups only the processes of a user of its own can be counted; the rest is none, never silent', () => {
    expect(plan([], everything)).toEqual({
      cgroups: [],
      rlimits: { CORE: 0, NPROC: 7 },
      limits: { cpus: 'none', memory: 'none', processes: 'rlimit', diskRead: 'none', diskWrite: 'none' },
    });
    const shared = plan([], everything, { ownUser: false, disk: { problem: 'no disk' } });
    expect(shared.rlimits).toEqual({ CORE: 0 });
    expect(shared.limits).toMatchObject({ processes: 'none', diskRead: 'none (no disk)' });
  });

  test('a controller whose file is not in the trial group holds nothing', () => {
    const { limits, cgroups } = plan([base(2, '/cg', ['memory'], ['cgroup.kill'])], { memoryBytes: 5 });
    expect(limits.memory).toBe('none');
    expect(cgroups[0]?.settings).toEqual([]);
  });

  test('the least quota is what the kernel takes', () => {
    expect(plan([v2], { cpus: 0.01 }).cgroups[0]?.settings[0]).toEqual(['cpu.max', '1000 100000']);
  });
});

describe('limits that the kernel refused', () => {
  const limits = { cpus: 'cgroup-v1', memory: 'cgroup-v1', processes: 'rlimit' };
  test.each([
    [['memory.limit_in_bytes: EBUSY'], { memory: 'none (memory.limit_in_bytes: EBUSY)' }],
    [['memory.memsw.limit_in_bytes: EINVAL'], {}],
    [['RLIMIT_NPROC: EPERM'], { processes: 'none (RLIMIT_NPROC: EPERM)' }],
    [['RLIMIT_CORE: EPERM'], {}],
    [['cgroup cpu,cpuacct: ENOSPC'], { cpus: 'none (cgroup cpu,cpuacct: ENOSPC)' }],
    [['pids.max: EINVAL'], {}],
    [[], {}],
  ])('%j', (refused, change) => {
    expect(heldLimits(limits, refused)).toEqual({ ...limits, ...change });
  });
});

test('an operator who requires limits learns what is missing', () => {
  const disk = { number: '8:0' };
  const host = (bases: CgroupBase[]) => ({ bases, problems: ['no groups (EACCES)'] });
  expect(missingLimits(null, host([v2]), disk)).toBeNull();
  expect(missingLimits(null, host(v1.slice(0, 2)), disk)).toBe(
    'this node cannot limit memory, processes (no groups (EACCES))',
  );
  const asked = resourcesSchema.parse({ diskReadBytesPerSecond: 5000 });
  expect(missingLimits(asked, host([v2]), { problem: 'none' })).toContain('disk throughput');
  expect(missingLimits(asked, host([v2]), disk)).toBeNull();
});
