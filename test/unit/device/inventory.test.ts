import { readFileSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { InventoryOptions } from '../../../src/device/inventory.ts';
import { readInventory } from '../../../src/device/inventory.ts';
import type { SlowFacts } from '../../../src/device/slow-facts.ts';
import { type Native, nativePaths } from '../../../src/native.ts';
import { inventorySchema } from '../../../src/protocol/control.ts';
import { createFakeClock, settle } from '../telemetry/fake-clock.ts';
import type { Cpu } from './folder.ts';
import { cpuinfo, makeFolder } from './folder.ts';

const zen: Cpu = {
  threads: 4,
  threadsPerCore: 2,
  vendor: 'AuthenticAMD',
  family: 25,
  model: 1,
  name: 'AMD EPYC 7763',
  flags: 'fpu sse2 avx fma avx2',
};

const files = {
  'proc/cpuinfo': cpuinfo(zen),
  'proc/meminfo': 'MemTotal:        8000000 kB\nMemFree: 1 kB\n',
  'proc/self/status': 'Cpus_allowed_list:\t0-3\n',
  'proc/self/cgroup': '0::/\n',
  'proc/self/mountinfo': '30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n',
  'etc/os-release': 'ID=debian\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
  'state/agent/.keep': '',
};

function optionsOf(
  more: Record<string, string> = {},
  changes: Partial<InventoryOptions> = {},
): InventoryOptions {
  const root = makeFolder({ ...files, ...more });
  return {
    native: null,
    paths: nativePaths(root),
    stateDir: join(root, 'state'),
    config: { jobCpus: null, jobMemoryBytes: null, name: null },
    executors: ['process'],
    limitations: ['no power source'],
    procRoot: join(root, 'proc'),
    sysRoot: join(root, 'sys'),
    etcRoot: join(root, 'etc'),
    ask: null,
    ...changes,
  };
}

/** A kernel whose bursts get this share of the CPU time that they ask for. */
function fakeKernel(flops = 5e10, share = 1, ratio = 2) {
  const measured: [string, number, number][] = [];
  let ranMs = 0;
  const native = {
    version: '0.1.0',
    async measureFlops(precision: string, threads: number, durationMs: number) {
      measured.push([precision, threads, durationMs]);
      ranMs += share * threads * durationMs;
      return { flops: precision === 'fp32' ? ratio * flops : flops, isa: 'avx2' };
    },
  };
  return { native: native as unknown as Native, measured, cpuTimeMs: () => ranMs };
}

describe('the inventory', () => {
  it('says what the host is from its own files, and fits the wire', async () => {
    const inventory = await readInventory(optionsOf());
    expect(inventorySchema.parse(inventory)).toEqual(inventory);
    expect(inventory).toMatchObject({
      hostname: hostname(),
      os: 'Debian GNU/Linux 12 (bookworm)',
      virtualisation: 'none',
      cpuModel: 'AMD EPYC 7763',
      cpuSockets: 1,
      cpuCores: 2,
      cpuThreads: 4,
      memoryBytes: 8_192_000_000,
      jobCpus: 4,
      jobMemoryBytes: 8_192_000_000,
      executors: ['process'],
      limitations: ['no power source'],
    });
    expect(inventory.cpuPeakFlops.computed.fp64).toBe(2 * 2e9 * 16);
    expect(inventory.cpuPeakFlops.measured).toEqual({
      fp64: null,
      fp32: null,
      source: 'not measured: the native addon is missing',
    });
  });

  it('offers jobs the least of machine, affinity, cgroup and configuration', async () => {
    const quota = { 'sys/fs/cgroup/cpu.max': '155555 100000', 'sys/fs/cgroup/memory.max': '5000000000' };
    expect(await readInventory(optionsOf(quota))).toMatchObject({
      jobCpus: 1.55,
      jobMemoryBytes: 5_000_000_000,
      memoryBytes: 8_192_000_000,
    });
    const config = { jobCpus: 0.5, jobMemoryBytes: 1000, name: null };
    expect(await readInventory(optionsOf(quota, { config }))).toMatchObject({
      jobCpus: 0.5,
      jobMemoryBytes: 1000,
    });
    const affinity = { 'proc/self/status': 'Cpus_allowed_list:\t2\n' };
    expect(
      await readInventory(optionsOf(affinity, { config: { ...config, jobCpus: 64, jobMemoryBytes: 1e15 } })),
    ).toMatchObject({ jobCpus: 64, jobMemoryBytes: 8_192_000_000 });
    expect((await readInventory(optionsOf({ 'sys/fs/cgroup/cpu.max': '100 100000' }))).jobCpus).toBe(0.01);
  });

  it('names the hypervisor by the board, and asks only for what is open', async () => {
    const asked: string[] = [];
    const answer = (question: string, fact: string) => {
      asked.push(question);
      return Promise.resolve(fact);
    };
    const ask: SlowFacts = {
      virtualHost: () => answer('host', 'kvm'),
      cpuModel: () => answer('cpu', 'Neoverse-N1'),
      os: () => answer('os', 'Alpine 3'),
    };
    const virtual = { 'proc/cpuinfo': cpuinfo({ ...zen, flags: `${zen.flags} hypervisor` }) };
    const board = { 'sys/class/dmi/id/sys_vendor': 'VMware, Inc.\n' };
    expect((await readInventory(optionsOf({ ...virtual, ...board }, { ask }))).virtualisation).toBe('vmware');
    expect(asked).toEqual([]);
    expect((await readInventory(optionsOf(virtual, { ask }))).virtualisation).toBe('kvm');
    expect((await readInventory(optionsOf(virtual))).virtualisation).toBe('virtual machine');
    const arm = {
      'proc/cpuinfo': cpuinfo({ threads: 2, vendor: '0x41', part: '0xd0c', flags: 'asimd' }),
      'etc/os-release': '',
    };
    expect(await readInventory(optionsOf(arm, { ask }))).toMatchObject({
      cpuModel: 'Neoverse-N1',
      os: 'Alpine 3',
    });
    expect(asked.sort()).toEqual(['cpu', 'host', 'host', 'os']);
  });

  it('does without an answer that fails, and without one that hangs, after the deadline', async () => {
    const clock = createFakeClock();
    const ask: SlowFacts = {
      virtualHost: async () => null,
      cpuModel: () => Promise.reject(new Error('no lscpu')),
      os: () => new Promise(() => {}),
    };
    const arm = {
      'proc/cpuinfo': cpuinfo({ threads: 2, vendor: '0x41', part: '0xd0c', flags: 'asimd' }),
      'etc/os-release': '',
    };
    let done = false;
    const reading = readInventory(optionsOf(arm, { ask, clock })).finally(() => {
      done = true;
    });
    await settle();
    clock.advance(2999);
    await settle();
    expect(done).toBe(false);
    clock.advance(1);
    expect(await reading).toMatchObject({ cpuModel: null, os: null, virtualisation: null, cpuThreads: 2 });
  });

  it('survives a host that shows nothing', async () => {
    const inventory = await readInventory({
      ...optionsOf(),
      procRoot: '/nonexistent',
      sysRoot: '/nonexistent',
      etcRoot: '/nonexistent',
    });
    expect(inventorySchema.safeParse(inventory).error).toBeUndefined();
    expect(inventory).toMatchObject({ os: null, cpuModel: null, cpuCores: null });
    expect(inventory.jobCpus).toBeGreaterThan(0);
  });
});

describe('the measured peak', () => {
  it('is measured once, on the threads that may be used, and kept for the next start', async () => {
    const { native, measured, cpuTimeMs } = fakeKernel();
    const options = optionsOf({}, { native, cpuTimeMs });
    const first = await readInventory(options);
    expect(measured.map(([precision, threads]) => `${precision} ${threads}`)).toEqual([
      ...Array(3).fill('fp64 4'),
      ...Array(3).fill('fp32 4'),
    ]);
    expect(measured.reduce((sum, [, , durationMs]) => sum + durationMs, 0)).toBeLessThanOrEqual(150);
    expect(first.cpuPeakFlops.measured).toMatchObject({
      fp64: 5e10,
      fp32: 1e11,
      source: expect.stringContaining('avx2'),
    });
    expect(await readInventory(options)).toEqual(first);
    expect(measured).toHaveLength(6);
  });

  it('is measured anew for another CPU and for a kept file that is broken', async () => {
    const { native, measured, cpuTimeMs } = fakeKernel();
    const options = optionsOf({}, { native, cpuTimeMs });
    await readInventory(options);
    writeFileSync(join(options.procRoot, 'cpuinfo'), cpuinfo({ ...zen, name: 'Another' }));
    await readInventory(options);
    expect(measured).toHaveLength(12);
    const path = join(options.stateDir, 'agent', 'cpu-peak.json');
    const kept = readFileSync(path, 'utf8');
    for (const broken of [
      '',
      'null',
      '{}',
      kept.slice(0, -9),
      kept.replace('50000000000', '"x"'),
      kept.replace('50000000000', '-1'),
    ]) {
      writeFileSync(path, broken);
      await readInventory(options);
    }
    expect(measured).toHaveLength(12 + 36);
  });

  it('is absent with the reason when the kernel fails or says nonsense, and nothing is kept then', async () => {
    const failing = {
      version: '0',
      measureFlops: () => Promise.reject(new Error('no threads')),
    } as unknown as Native;
    const options = optionsOf({}, { native: failing });
    expect((await readInventory(options)).cpuPeakFlops.measured).toEqual({
      fp64: null,
      fp32: null,
      source: 'not measured: no threads',
    });
    const { native, measured, cpuTimeMs } = fakeKernel(Number.NaN);
    await readInventory({ ...options, native, cpuTimeMs });
    const once = measured.length;
    expect((await readInventory({ ...options, native, cpuTimeMs })).cpuPeakFlops.measured.fp64).toBeNull();
    expect(measured).toHaveLength(2 * once);
  });

  it.each([
    ['the threads did not get their cores', 5e10, 0.6, 2, 'the host was busy'],
    ['the precisions do not fit each other', 5e10, 1, 26, '26.0 times double precision'],
  ])('is absent with the reason when %s, and measured again', async (_, flops, share, ratio, why) => {
    const { native, measured, cpuTimeMs } = fakeKernel(flops, share, ratio);
    const options = optionsOf({}, { native, cpuTimeMs });
    const { measured: peak } = (await readInventory(options)).cpuPeakFlops;
    expect(peak).toEqual({ fp64: null, fp32: null, source: expect.stringContaining(why) });
    const once = measured.length;
    await readInventory(options);
    expect(measured).toHaveLength(2 * once);
  });

  it('needs no folder to keep it in', async () => {
    const { native, cpuTimeMs } = fakeKernel();
    const options = optionsOf({}, { native, cpuTimeMs });
    const nowhere = { ...options, stateDir: join(options.stateDir, 'none') };
    expect((await readInventory(nowhere)).cpuPeakFlops.measured.fp64).toBe(5e10);
  });
});
