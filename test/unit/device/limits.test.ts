import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readLimits } from '../../../src/device/limits.ts';
import { mountOf, parseMountinfo } from '../../../src/device/mountinfo.ts';
import { makeFolder } from './folder.ts';

const V2 = '30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate';

function limitsOf(files: Record<string, string>) {
  const root = makeFolder(files);
  return readLimits(join(root, 'proc'), join(root, 'sys'));
}

describe('the limits of this process', () => {
  it('are the least of its cgroup v2 and all groups above it', () => {
    const group = 'sys/fs/cgroup/flopd.slice/flopd-agent.service';
    expect(
      limitsOf({
        'proc/self/mountinfo': `${V2}\n`,
        'proc/self/cgroup': '0::/flopd.slice/flopd-agent.service\n',
        'proc/self/status': 'Name:\tnode\nCpus_allowed_list:\t0-3,8,10-11\n',
        [`${group}/cpu.max`]: '300000 100000\n',
        [`${group}/memory.max`]: 'max\n',
        'sys/fs/cgroup/flopd.slice/cpu.max': '150000 100000\n',
        'sys/fs/cgroup/flopd.slice/memory.max': '1073741824\n',
        'sys/fs/cgroup/memory.max': '99\n'.replace('99', '4294967296'),
      }),
    ).toEqual({ affinityCpus: 7, cgroupCpus: 1.5, cgroupMemoryBytes: 1073741824 });
  });

  it('are those of cgroup v1 where its controllers are, within a container too', () => {
    const mounts = [
      '31 30 0:27 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct',
      '32 30 0:28 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory',
      '33 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw',
    ];
    expect(
      limitsOf({
        'proc/self/mountinfo': mounts.join('\n'),
        'proc/self/cgroup': '4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/\n',
        'sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us': '50000\n',
        'sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us': '100000\n',
        'sys/fs/cgroup/memory/memory.limit_in_bytes': '536870912\n',
      }),
    ).toEqual({ affinityCpus: null, cgroupCpus: 0.5, cgroupMemoryBytes: 536870912 });
  });

  it('take the mount itself where the path of the group lies outside of it', () => {
    expect(
      limitsOf({
        'proc/self/mountinfo': '30 23 0:26 /../.. /sys/fs/cgroup rw - cgroup2 cgroup2 rw',
        'proc/self/cgroup': '0::/../../other\n',
        'sys/fs/cgroup/memory.max': '1000000',
      }).cgroupMemoryBytes,
    ).toBe(1000000);
  });

  it('are none where the kernel says none, or nonsense', () => {
    expect(
      limitsOf({
        'proc/self/mountinfo': `${V2}\ngarbage\n32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory`,
        'proc/self/cgroup': '4:memory:/\n0::/\nnonsense\n',
        'proc/self/status': 'Cpus_allowed_list:\tx-y\n',
        'sys/fs/cgroup/cpu.max': 'max 100000\n',
        'sys/fs/cgroup/memory.max': '',
        'sys/fs/cgroup/memory/memory.limit_in_bytes': '9223372036854771712\n',
      }),
    ).toEqual({ affinityCpus: null, cgroupCpus: null, cgroupMemoryBytes: null });
    expect(readLimits('/nonexistent', '/nonexistent')).toEqual({
      affinityCpus: null,
      cgroupCpus: null,
      cgroupMemoryBytes: null,
    });
  });
});

describe('mountinfo', () => {
  const mounts = parseMountinfo(
    [
      '1 0 8:1 / / rw - ext4 /dev/sda1 rw',
      '2 1 8:2 / /srv rw - xfs /dev/sdb rw',
      '3 2 8:3 /sub /srv/my\\040data\\134x rw shared:1 master:2 - btrfs /dev/sdc rw,a',
      'cut 1 8:9',
      '4 1 8:4 / /srv rw - ext4 /dev/sdd rw',
    ].join('\n'),
  );

  it('is read whatever optional fields stand in it', () => {
    expect(mounts).toHaveLength(4);
    expect(mounts[2]).toEqual({
      device: '8:3',
      root: '/sub',
      point: '/srv/my data\\x',
      type: 'btrfs',
      superOptions: ['rw', 'a'],
    });
  });

  it('finds the mount that holds a path: the longest, the latest', () => {
    expect(mountOf(mounts, '/srv/my data\\x/deep')?.device).toBe('8:3');
    expect(mountOf(mounts, '/srv/other')?.device).toBe('8:4');
    expect(mountOf(mounts, '/srvx')?.device).toBe('8:1');
    expect(mountOf([], '/')).toBeNull();
  });
});
