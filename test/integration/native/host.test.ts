// The parts of the host over copies of /proc and /sys written here: what the reader says is what the texts say.
import { mkdirSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { columnFamilies, isColumnFamilyName } from '../../../src/protocol/columns.ts';
import { addon, createTree, isBuilt, type OpenReader, openReader, stat, type Tree, title } from './addon.ts';

let tree: Tree | null = null;
let reader: OpenReader | null = null;
afterEach(() => {
  reader?.close();
  tree?.remove();
  reader = tree = null;
});

/** A reader over a fresh tree; both are gone after the test. */
function over(files: Readonly<Record<string, string>>, periodMs = 10): { tree: Tree; reader: OpenReader } {
  tree = createTree(files);
  reader = openReader(tree, periodMs);
  return { tree, reader };
}

describe.skipIf(!isBuilt)(title('host parts'), () => {
  it('gives CPU seconds per mode, tasks and context switches as the kernel counts them', () => {
    const { reader } = over({ 'proc/stat': stat('100 20 30 4000 50 6 7 8 90 9', '1 2 3 4 5 6 7 8 0 0') });
    const taken = reader.take();
    const modes = ['user', 'nice', 'system', 'idle', 'iowait', 'irq', 'softirq', 'steal'];
    expect(modes.map((mode) => taken.last(`cpu.secondsTotal{${mode}}`))).toEqual([
      1, 0.2, 0.3, 40, 0.5, 0.06, 0.07, 0.08,
    ]);
    expect(taken.last('cpu.runnableTasks')).toBe(3);
    expect(taken.last('cpu.blockedTasks')).toBe(2);
    expect(taken.last('cpu.contextSwitchesTotal')).toBe(12345);
    expect(taken.reason('cpu.busyRatio')).toBe('notYet');
  });

  it('gives the busy ratio between two looks, in all and per core', async () => {
    const { tree, reader } = over({
      'proc/stat': stat('0 0 0 100 0 0 0 0', '0 0 0 50 0 0 0 0', '0 0 0 50 0 0 0 0'),
    });
    tree.write('proc/stat', stat('30 0 20 140 10 0 0 0', '30 0 20 50 0 0 0 0', '0 0 0 90 10 0 0 0'));
    const taken = await reader.takeUntil((taken) => taken.reason('cpu.busyRatio') === 'present');
    expect(taken.mean('cpu.busyRatio')).toBeCloseTo(0.5, 12);
    expect(taken.mean('cpu.coreBusyRatio{0}')).toBe(1);
    expect(taken.mean('cpu.coreBusyRatio{1}')).toBe(0);
  });

  it('keeps ratios within 0 and 1 and counters growing when idle and iowait go back a little', async () => {
    const { tree, reader } = over({ 'proc/stat': stat('0 0 0 1000 500 0 0 0') });
    tree.write('proc/stat', stat('10 0 0 995 480 0 0 0'));
    const taken = await reader.takeUntil((taken) => taken.reason('cpu.busyRatio') === 'present');
    expect(taken.mean('cpu.busyRatio')).toBe(1);
    expect(taken.last('cpu.secondsTotal{iowait}')).toBe(5);
    expect(taken.last('cpu.secondsTotal{idle}')).toBe(10);
    expect(taken.last('cpu.secondsTotal{user}')).toBe(0.1);
  });

  it('passes a counter on that started over', async () => {
    const { tree, reader } = over({ 'proc/stat': stat('900000 0 0 900000 0 0 0 0') });
    tree.write('proc/stat', stat('10 0 0 20 0 0 0 0'));
    const taken = await reader.takeUntil((taken) => taken.last('cpu.secondsTotal{user}') < 1);
    expect(taken.last('cpu.secondsTotal{idle}')).toBe(0.2);
  });

  it('gives load averages as the decimal numbers they are', () => {
    const { reader } = over({ 'proc/loadavg': '0.69 12.48 1024.25 3/711 12345\n' });
    const taken = reader.take();
    expect(['1', '5', '15'].map((n) => taken.last(`cpu.load${n}`))).toEqual([0.69, 12.48, 1024.25]);
  });

  it('gives memory in bytes, in whatever order the lines stand', () => {
    const lines = [
      'SwapFree: 5 kB',
      'MemFree:  200 kB',
      'Weird',
      'MemTotal: 1000 kB',
      'Cached: 30 kB',
      'MemAvailable: 600 kB',
    ];
    const { reader } = over({ 'proc/meminfo': `${lines.join('\n')}\n` });
    const taken = reader.take();
    expect(taken.last('memory.totalBytes')).toBe(1_024_000);
    expect(taken.last('memory.usedBytes')).toBe(400 * 1024);
    expect(taken.last('memory.swapFreeBytes')).toBe(5 * 1024);
    expect(taken.last('memory.cachedBytes')).toBe(30 * 1024);
    expect(taken.reason('memory.buffersBytes')).toBe('unsupported');
  });

  it('gives pressure totals in seconds and says that an old kernel has no full line', () => {
    const { reader } = over({
      'proc/pressure/cpu': 'some avg10=0.00 avg60=0.00 avg300=0.00 total=1500000\n',
      'proc/pressure/io':
        'some avg10=1.00 avg60=0.00 avg300=0.00 total=7\nfull avg10=0 avg60=0 avg300=0 total=3\n',
    });
    const taken = reader.take();
    expect(taken.last('pressure.waitingSecondsTotal{cpu}')).toBe(1.5);
    expect(taken.reason('pressure.stalledSecondsTotal{cpu}')).toBe('unsupported');
    expect(taken.last('pressure.stalledSecondsTotal{io}')).toBe(0.000003);
    expect(taken.reason('pressure.waitingSecondsTotal{memory}')).toBe('unsupported');
  });

  const diskLine = (name: string, read = 1): string =>
    `   8  0 ${name} ${read} 0 16 3 4 5 32 7 0 2500 9 0 0 0 0\n`;

  it('gives whole disks only, those that sysfs lists', () => {
    const { reader } = over({
      'proc/diskstats': [
        'sda',
        'sda1',
        'loop0',
        'ram1',
        'zram0',
        'dm-0',
        'md127',
        'nvme0n1',
        'nvme0n1p1',
        'odd1',
      ]
        .map((n) => diskLine(n))
        .join(''),
      ...Object.fromEntries(
        ['sda', 'loop0', 'ram1', 'zram0', 'dm-0', 'md127', 'nvme0n1', 'odd1'].map((n) => [
          `sys/block/${n}/size`,
          '1\n',
        ]),
      ),
    });
    const taken = reader.take();
    const disks = taken.keys.flatMap((key) => /^disk\.readsTotal\{(.*)\}$/.exec(key)?.[1] ?? []);
    expect(disks).toEqual(['sda', 'dm-0', 'md127', 'nvme0n1', 'odd1']);
    expect(taken.last('disk.readBytesTotal{sda}')).toBe(16 * 512);
    expect(taken.last('disk.writtenBytesTotal{sda}')).toBe(32 * 512);
    expect(taken.last('disk.writesTotal{sda}')).toBe(4);
    expect(taken.last('disk.busySecondsTotal{sda}')).toBe(2.5);
  });

  it('tells partitions by their names where there is no sysfs', () => {
    const names = ['sda', 'sda1', 'vdb12', 'nvme0n1', 'nvme0n1p2', 'mmcblk0', 'mmcblk0p1', 'md0', 'dm-1'];
    const { reader } = over({ 'proc/diskstats': names.map((n) => diskLine(n)).join('') });
    const disks = reader.take().keys.flatMap((key) => /^disk\.readsTotal\{(.*)\}$/.exec(key)?.[1] ?? []);
    expect(disks).toEqual(['sda', 'nvme0n1', 'mmcblk0', 'md0', 'dm-1']);
  });

  const heading =
    'Inter-|   Receive                                                |  Transmit\n face |bytes packets\n';
  const netLine = (name: string, base = 0): string =>
    `${name}:${Array.from({ length: 16 }, (_, i) => base + i).join(' ')}\n`;

  it('gives interfaces with their rate, without those of containers', () => {
    const { reader } = over({
      'proc/net/dev':
        heading +
        netLine('    lo') +
        netLine('eth0', 100) +
        netLine('veth12ab') +
        netLine('docker0') +
        netLine('br-0123456789ab') +
        netLine('br-lan'),
      'sys/class/net/eth0/speed': '10000\n',
      'sys/class/net/br-lan/speed': '-1\n',
    });
    const taken = reader.take();
    const interfaces = taken.keys.flatMap(
      (key) => /^network\.receiveBytesTotal\{(.*)\}$/.exec(key)?.[1] ?? [],
    );
    expect(interfaces).toEqual(['lo', 'eth0', 'br-lan']);
    expect(taken.last('network.receiveBytesTotal{eth0}')).toBe(100);
    expect(taken.last('network.receivePacketsTotal{eth0}')).toBe(101);
    expect(taken.last('network.receiveErrorsTotal{eth0}')).toBe(102);
    expect(taken.last('network.receiveDropsTotal{eth0}')).toBe(103);
    expect(taken.last('network.transmitBytesTotal{eth0}')).toBe(108);
    expect(taken.last('network.transmitPacketsTotal{eth0}')).toBe(109);
    expect(taken.last('network.transmitErrorsTotal{eth0}')).toBe(110);
    expect(taken.last('network.transmitDropsTotal{eth0}')).toBe(111);
    expect(taken.last('network.speedBytesPerSecond{eth0}')).toBe(1.25e9);
    expect(taken.reason('network.speedBytesPerSecond{br-lan}')).toBe('unsupported');
    expect(taken.reason('network.speedBytesPerSecond{lo}')).toBe('unsupported');
  });

  it('keeps counters exact up to 2^53', () => {
    const { reader } = over({
      'proc/net/dev': netLine('eth0').replace(':0 ', `: ${Number.MAX_SAFE_INTEGER} `),
    });
    expect(reader.take().last('network.receiveBytesTotal{eth0}')).toBe(Number.MAX_SAFE_INTEGER);
  });

  it('gives sensors by chip and label, and tells chips of one name apart by their device', () => {
    const { tree } = over({});
    reader?.close();
    for (const [n, device] of [
      [0, 'nvme0'],
      [1, 'nvme1'],
      [10, 'coretemp.0'],
    ] as const) {
      mkdirSync(join(tree.sys, `devices/${device}`), { recursive: true });
      tree.write(`sys/class/hwmon/hwmon${n}/name`, n === 10 ? 'coretemp\n' : 'nvme\n');
      symlinkSync(`../../../devices/${device}`, join(tree.sys, `class/hwmon/hwmon${n}/device`));
      tree.write(`sys/class/hwmon/hwmon${n}/temp1_input`, `${30_000 + n * 1000}\n`);
      tree.write(`sys/class/hwmon/hwmon${n}/temp1_label`, n === 10 ? 'Package id 0\n' : 'Composite\n');
    }
    tree.write('sys/class/hwmon/hwmon10/temp2_input', '-5500\n');
    tree.write('sys/class/hwmon/hwmon10/fan1_input', '1234\n');
    tree.write('sys/class/hwmon/hwmon10/temp3_input', 'broken\n');
    reader = openReader(tree);
    const taken = reader.take();
    expect(taken.last('sensor.temperatureCelsius{nvme-nvme0/Composite}')).toBe(30);
    expect(taken.last('sensor.temperatureCelsius{nvme-nvme1/Composite}')).toBe(31);
    expect(taken.last('sensor.temperatureCelsius{coretemp/Package id 0}')).toBe(40);
    expect(taken.last('sensor.temperatureCelsius{coretemp/temp2}')).toBe(-5.5);
    expect(taken.reason('sensor.temperatureCelsius{coretemp/temp3}')).toBe('error');
    expect(taken.last('sensor.fanRpm{coretemp/fan1}')).toBe(1234);
  });

  it('sums a power meter up to joules where it has no energy counter', async () => {
    const { reader } = over({
      'sys/class/hwmon/hwmon0/name': 'meter\n',
      'sys/class/hwmon/hwmon0/power1_average': '250000000\n',
      'sys/class/hwmon/hwmon0/power2_input': '1000000\n',
      'sys/class/hwmon/hwmon0/energy2_input': '5000000\n',
      'sys/class/hwmon/hwmon0/power2_label': 'socket\n',
      'sys/class/hwmon/hwmon0/energy2_label': 'socket\n',
    });
    const first = reader.take();
    expect(first.last('power.watts{hwmon:meter/power1}')).toBe(250);
    const later = await reader.takeUntil((taken) => taken.endNs > first.endNs + 100e6);
    const joules =
      later.last('power.energyJoulesTotal{hwmon:meter/power1}') -
      first.last('power.energyJoulesTotal{hwmon:meter/power1}');
    expect(joules).toBeCloseTo((250 * (later.endNs - first.endNs)) / 1e9, 6);
    expect(later.last('power.energyJoulesTotal{hwmon:meter/socket}')).toBe(0);
  });

  it('follows a RAPL counter across its wrap and not across a restart of it', async () => {
    const zone = 'sys/class/powercap/intel-rapl:0';
    const { tree, reader } = over({
      [`${zone}/name`]: 'package-0\n',
      [`${zone}/energy_uj`]: '999000\n',
      [`${zone}/max_energy_range_uj`]: '1000000\n',
      [`${zone}:0/name`]: 'dram\n',
      [`${zone}:0/energy_uj`]: '100\n',
      'sys/class/powercap/intel-rapl-mmio:0/name': 'package-0\n',
      'sys/class/powercap/intel-rapl-mmio:0/energy_uj': '1\n',
    });
    const key = 'power.energyJoulesTotal{rapl:package-0}';
    expect(reader.take().keys.filter((key) => key.startsWith('power.watts'))).toEqual([
      'power.watts{rapl:package-0}',
      'power.watts{rapl:package-0/dram}',
    ]);
    const before = reader.take().last(key);
    expect(before).toBe(0);
    tree.write(`${zone}/energy_uj`, '004000\n');
    const wrapped = await reader.takeUntil((taken) => taken.last(key) > 0);
    expect(wrapped.last(key)).toBeCloseTo(0.005, 9);
    expect(wrapped.max('power.watts{rapl:package-0}')).toBeGreaterThan(0);
    // Without a range that a wrap could explain, a smaller number is a counter that started over.
    tree.write(`${zone}:0/energy_uj`, '050\n');
    const seen = reader.take().sequence;
    const after = await reader.takeUntil((taken) => taken.sequence > seen + 1 && taken.ticks > 0);
    expect(after.last('power.energyJoulesTotal{rapl:package-0/dram}')).toBe(0);
  });

  it('gives the mean clock weighted by the cores of a policy', () => {
    const policy = 'sys/devices/system/cpu/cpufreq/policy';
    const { reader } = over({
      [`${policy}0/scaling_cur_freq`]: '1000000\n',
      [`${policy}0/affected_cpus`]: '0 1 2\n',
      [`${policy}3/scaling_cur_freq`]: '2000000\n',
      [`${policy}3/affected_cpus`]: '3\n',
    });
    expect(reader.take().last('cpu.clockHertz')).toBe(1.25e9);
  });

  it('gives limits and use of a cgroup of version 2', () => {
    const group = 'sys/fs/cgroup/system.slice/flopd.service';
    const { reader } = over({
      'proc/self/cgroup': '0::/system.slice/flopd.service\n',
      [`${group}/memory.max`]: '1073741824\n',
      [`${group}/memory.current`]: '4096\n',
      [`${group}/cpu.max`]: '150000 100000\n',
      [`${group}/cpu.stat`]: 'usage_usec 5\nnr_periods 0\nthrottled_usec 2500000\n',
    });
    const taken = reader.take();
    expect(taken.last('cgroup.memoryLimitBytes')).toBe(1073741824);
    expect(taken.last('cgroup.memoryUsedBytes')).toBe(4096);
    expect(taken.last('cgroup.cpuLimitCores')).toBe(1.5);
    expect(taken.last('cgroup.throttledSecondsTotal')).toBe(2.5);
  });

  it('gives those of version 1 too, and says unsupported where there is no limit', () => {
    const { reader } = over({
      'proc/self/cgroup': '4:memory:/docker/x\n1:cpu,cpuacct:/docker/x\n0::/\n',
      'sys/fs/cgroup/memory/memory.limit_in_bytes': '9223372036854771712\n',
      'sys/fs/cgroup/memory/memory.usage_in_bytes': '8192\n',
      'sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_quota_us': '50000\n',
      'sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_period_us': '100000\n',
      'sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.stat': 'nr_periods 1\nthrottled_time 3000000000\n',
    });
    const taken = reader.take();
    expect(taken.reason('cgroup.memoryLimitBytes')).toBe('unsupported');
    expect(taken.last('cgroup.memoryUsedBytes')).toBe(8192);
    expect(taken.last('cgroup.cpuLimitCores')).toBe(0.5);
    expect(taken.last('cgroup.throttledSecondsTotal')).toBe(3);
  });

  it('announces a new disk in a new generation, and one that went as lost until then', async () => {
    const { tree, reader } = over({ 'proc/diskstats': diskLine('sda') + diskLine('sdb') });
    const first = reader.take();
    tree.write('proc/diskstats', diskLine('sdb') + diskLine('sdc'));
    const lost = await reader.takeUntil((taken) => taken.reason('disk.readsTotal{sda}') === 'lost');
    expect(lost.generation).toBe(first.generation);
    expect(lost.last('disk.readsTotal{sda}')).toBeNaN();
    const next = await reader.takeUntil((taken) => taken.generation > first.generation);
    expect(next.keys).not.toContain('disk.readsTotal{sda}');
    const present = await reader.takeUntil((taken) => taken.reason('disk.readsTotal{sdc}') === 'present');
    expect(present.last('disk.readsTotal{sdb}')).toBe(1);
    expect(present.generation).toBe(first.generation + 1);
  });

  it('finds a sensor that appears, and drops one that is unplugged', async () => {
    const { tree, reader } = over({
      'sys/class/hwmon/hwmon0/name': 'a\n',
      'sys/class/hwmon/hwmon0/temp1_input': '1000\n',
    });
    const first = reader.take();
    tree.write('sys/class/hwmon/hwmon1/temp1_input', '2000\n');
    tree.write('sys/class/hwmon/hwmon1/name', 'b\n');
    const more = await reader.takeUntil((taken) => taken.keys.includes('sensor.temperatureCelsius{b/temp1}'));
    expect(more.generation).toBeGreaterThan(first.generation);
    rmSync(join(tree.sys, 'class/hwmon/hwmon0'), { recursive: true });
    const fewer = await reader.takeUntil(
      (taken) => !taken.keys.includes('sensor.temperatureCelsius{a/temp1}'),
    );
    expect(fewer.keys).toContain('sensor.temperatureCelsius{b/temp1}');
  });

  it('says unsupported for everything on an empty machine, and never 0', () => {
    const { reader } = over({});
    const taken = reader.take();
    expect(taken.keys.length).toBeGreaterThan(30);
    for (const key of taken.keys) {
      expect([key, taken.reason(key)]).toEqual([key, 'unsupported']);
      expect(taken.last(key)).toBeNaN();
    }
  });

  it('announces only families of columns.ts, with a label exactly where the family has one', () => {
    over({
      'proc/stat': stat('1 2 3 4 5 6 7 8', '1 2 3 4 5 6 7 8'),
      'proc/diskstats': diskLine('sda'),
      'proc/net/dev': netLine('eth0'),
      'sys/class/hwmon/hwmon0/temp1_input': '1\n',
      'sys/class/hwmon/hwmon0/fan1_input': '1\n',
      'sys/class/hwmon/hwmon0/power1_input': '1\n',
      'sys/class/powercap/intel-rapl:0/energy_uj': '1\n',
    });
    const seen = new Set<string>();
    for (const { family, label } of addon().readerColumns()) {
      if (!isColumnFamilyName(family)) throw new Error(`unknown family ${family}`);
      expect([family, label !== null]).toEqual([family, columnFamilies[family].label !== null]);
      seen.add(family);
    }
    // Everything but the storage, which TypeScript reads, and the accelerators, of which there are none.
    expect([...seen].sort()).toEqual(
      Object.keys(columnFamilies)
        .filter((name) => !name.startsWith('storage.') && !name.startsWith('accelerator.'))
        .sort(),
    );
  });
});
