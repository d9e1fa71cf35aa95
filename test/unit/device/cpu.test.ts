import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { computePeak, readCpu } from '../../../src/device/cpu.ts';
import table from '../../../src/device/peak/cpu.json' with { type: 'json' };
import type { Cpu } from './folder.ts';
import { cpuinfo, makeFolder } from './folder.ts';

const AVX2 = 'fpu sse2 avx fma avx2';
const AVX512 = `${AVX2} avx512f`;

function peakOf(cpu: Cpu, sys: Record<string, string> = {}) {
  const root = makeFolder({
    'proc/cpuinfo': cpuinfo(cpu),
    ...Object.fromEntries(Object.entries(sys).map(([name, text]) => [`sys/${name}`, text])),
  });
  return computePeak(readCpu(join(root, 'proc'), join(root, 'sys')));
}

describe('the facts of the CPU', () => {
  it('count cores and packages, not hardware threads', () => {
    const root = makeFolder({
      cpuinfo: cpuinfo({
        threads: 8,
        threadsPerCore: 2,
        vendor: 'GenuineIntel',
        family: 6,
        model: 106,
        flags: AVX512,
      }),
    });
    expect(readCpu(root, root)).toMatchObject({
      threads: 8,
      cores: 4,
      sockets: 1,
      family: 6,
      modelNumber: 106,
      microcode: '0x1',
      clockHertz: 2e9,
    });
  });

  it('prefer the topology and the highest clock of /sys', () => {
    const cpu = (at: number, core: string, socket: string, kilohertz: number) => ({
      [`sys/devices/system/cpu/cpu${at}/topology/core_cpus_list`]: `${core}\n`,
      [`sys/devices/system/cpu/cpu${at}/topology/physical_package_id`]: `${socket}\n`,
      [`sys/devices/system/cpu/cpu${at}/cpufreq/cpuinfo_max_freq`]: `${kilohertz}\n`,
    });
    const root = makeFolder({
      'proc/cpuinfo': cpuinfo({ threads: 4, vendor: '0x41', part: '0xd40', flags: 'fp asimd sve' }),
      ...cpu(0, '0-1', '0', 2_600_000),
      ...cpu(1, '0-1', '0', 2_600_000),
      ...cpu(2, '2', '1', 3_000_000),
      ...cpu(3, '3', '1', 2_600_000),
      'sys/devices/system/cpu/cpu4/online': '0\n',
      'sys/devices/system/cpu/cpufreq/x': '',
    });
    const facts = readCpu(join(root, 'proc'), join(root, 'sys'));
    expect(facts).toMatchObject({
      threads: 4,
      cores: 3,
      sockets: 2,
      clockHertz: 3e9,
      clockSource: 'cpuinfo_max_freq',
    });
    expect(computePeak(facts)).toMatchObject({ fp64: 3 * 3e9 * 16, fp32: 3 * 3e9 * 32 });
  });

  it('are null where nothing tells them', () => {
    expect(readCpu('/nonexistent', '/nonexistent')).toMatchObject({
      model: null,
      cores: null,
      threads: null,
      clockHertz: null,
    });
    const garbage = makeFolder({ cpuinfo: 'processor\nfoo\n\n:::\n\0\0' });
    expect(readCpu(garbage, garbage)).toMatchObject({ threads: null, cores: null });
  });
});

describe('the computed peak', () => {
  it.each([
    ['Zen 1', { vendor: 'AuthenticAMD', family: 23, model: 1, flags: AVX2 }, 8],
    ['Zen 2', { vendor: 'AuthenticAMD', family: 23, model: 49, flags: AVX2 }, 16],
    ['Zen 3', { vendor: 'AuthenticAMD', family: 25, model: 1, flags: AVX2 }, 16],
    ['Zen 4', { vendor: 'AuthenticAMD', family: 25, model: 17, flags: AVX512 }, 16],
    ['Zen 5', { vendor: 'AuthenticAMD', family: 26, model: 2, flags: AVX512 }, 32],
    ['Haswell', { vendor: 'GenuineIntel', family: 6, model: 63, flags: AVX2 }, 16],
    [
      'Skylake-SP, Cascade Lake or Cooper Lake',
      { vendor: 'GenuineIntel', family: 6, model: 85, name: 'Intel(R) Xeon(R) Gold 6248', flags: AVX512 },
      32,
    ],
    [
      'Skylake or Cascade Lake with one 512-bit unit',
      { vendor: 'GenuineIntel', family: 6, model: 85, name: 'Intel(R) Xeon(R) Silver 4110', flags: AVX512 },
      16,
    ],
    ['Sapphire Rapids', { vendor: 'GenuineIntel', family: 6, model: 143, flags: AVX512 }, 32],
    ['Granite Rapids', { vendor: 'GenuineIntel', family: 6, model: 173, flags: AVX512 }, 32],
    ['unlisted core with AVX2', { vendor: 'GenuineIntel', family: 6, model: 143, flags: AVX2 }, 16],
    ['unlisted core with AVX2', { vendor: 'NewVendor', family: 1, model: 1, flags: AVX512 }, 16],
    ['unlisted core with SSE2', { vendor: 'AuthenticAMD', family: 15, model: 1, flags: 'fpu sse2' }, 4],
  ] as const)('knows %s', (name, cpu, perCycle) => {
    const peak = peakOf({ threads: 2, ...cpu });
    expect(peak).toMatchObject({ fp64: 2 * 2e9 * perCycle, fp32: 2 * 2e9 * perCycle * 2 });
    expect(peak.source).toContain(name);
    expect(peak.source).toContain('nominal');
  });

  it('does not call a hyper-thread a core, and warns within a virtual machine', () => {
    const peak = peakOf({
      threads: 4,
      threadsPerCore: 2,
      vendor: 'AuthenticAMD',
      family: 25,
      model: 1,
      flags: `${AVX2} hypervisor`,
    });
    expect(peak.fp64).toBe(2 * 2e9 * 16);
    expect(peak.source).toMatch(/2 cores x 2\.000 GHz .* virtual machine/);
  });

  it('says when its own figure is not certain', () => {
    const frequency = {
      'devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq': '2600000',
      'devices/system/cpu/cpu0/topology/core_cpus_list': '0',
    };
    const peak = peakOf({ threads: 1, vendor: '0x48', part: '0xd01', flags: 'fp asimd' }, frequency);
    expect(peak.fp64).toBe(2.6e9 * 8);
    expect(peak.source).toContain('not certain');
  });

  it('is null with the reason for cores of two kinds, an unknown clock, and an unknown instruction set', () => {
    expect(peakOf({ threads: 2, vendor: 'GenuineIntel', family: 6, model: 151, flags: AVX2 })).toMatchObject({
      fp64: null,
      source: expect.stringContaining('two kinds'),
    });
    const core = { 'devices/system/cpu/cpu0/topology/core_cpus_list': '0' };
    expect(peakOf({ threads: 1, vendor: '0x41', part: '0xd0c', flags: 'asimd' }, core)).toMatchObject({
      fp32: null,
      source: expect.stringContaining('clock'),
    });
    expect(peakOf({ threads: 1, vendor: '0x41', part: '0xd0c', flags: 'asimd' })).toMatchObject({
      fp64: null,
      source: expect.stringContaining('cores'),
    });
    expect(peakOf({ threads: 1, vendor: 'x', family: 1, model: 1, flags: '' })).toMatchObject({
      fp64: null,
      source: expect.stringContaining('unknown'),
    });
  });
});

describe('the table of cores', () => {
  it('claims no model for two designs of one vendor and family, but for those told apart by brand', () => {
    const seen = new Map<string, string>();
    for (const core of table.cores) {
      if (core.brand !== undefined) continue;
      const models =
        core.models === undefined
          ? [core.part]
          : core.models.flatMap((each) =>
              typeof each === 'number'
                ? [each]
                : Array.from({ length: (each[1] ?? 0) - (each[0] ?? 0) + 1 }, (_, at) => (each[0] ?? 0) + at),
            );
      for (const model of models) {
        const key = `${core.vendor} ${core.family} ${model}`;
        expect(seen.get(key), key).toBeUndefined();
        seen.set(key, core.name);
      }
    }
    expect(seen.size).toBeGreaterThan(300);
  });
});
