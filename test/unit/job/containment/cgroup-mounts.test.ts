import { describe, expect, test } from 'vitest';
import {
  findOwnGroups,
  parseCgroupMounts,
  parseOwnPaths,
} from '../../../../src/job/containment/cgroup-mounts.ts';

const hybrid = `23 1 254:0 / / rw - ext4 /dev/vda rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
`;
const own = `4:memory:/api/92fb
2:cpu,cpuacct:/
1:name=systemd:/
0::/deep/er
`;

describe('where the control groups of this process are', () => {
  test('both versions of a hybrid host, co-mounted controllers as one', () => {
    expect(
      findOwnGroups(hybrid, own, '/sys').map(({ folder, controllers }) => [folder, controllers]),
    ).toEqual([
      ['/sys/fs/cgroup/cpu,cpuacct', ['cpu', 'cpuacct']],
      ['/sys/fs/cgroup/memory/api/92fb', ['memory']],
      ['/sys/fs/cgroup/unified/deep/er', []],
    ]);
  });

  test('a container that sees only its own part finds itself at the top', () => {
    const mounts = '35 31 0:32 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n';
    const at = (path: string) => findOwnGroups(mounts, `4:memory:${path}\n`, '/sys')[0]?.folder;
    expect(at('/docker/abc')).toBe('/sys/fs/cgroup/memory');
    expect(at('/docker/abc/inner')).toBe('/sys/fs/cgroup/memory/inner');
    expect(at('/elsewhere')).toBe('/sys/fs/cgroup/memory');
  });

  test('version 2 alone, under another root, with a space in its path', () => {
    const mounts = '35 31 0:32 / /sys/fs/c\\040group rw - cgroup2 cgroup2 rw,nsdelegate\n';
    expect(findOwnGroups(mounts, '0::/system.slice/flopd-agent.service\n', '/copy')).toEqual([
      {
        version: 2,
        controllers: [],
        folder: '/copy/fs/c group/system.slice/flopd-agent.service',
        mountPoint: '/copy/fs/c group',
      },
    ]);
  });

  test('garbage is no group', () => {
    for (const text of ['', '\n', 'x', '1 2 3', ' - cgroup', '0::', 'a:b:c', '5:memory:relative'])
      expect([parseCgroupMounts(text), [...parseOwnPaths(text)]]).toEqual([[], []]);
  });
});
