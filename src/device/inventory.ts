// The static facts of the host, read once at start. What /proc, /sys and /etc tell costs nothing and comes first;
// systeminformation (slow-facts.ts) is asked only for what they leave open, with a deadline, all at once.
import { arch, availableParallelism, cpus, hostname, release, totalmem, type } from 'node:os';
import { join } from 'node:path';
import type { Clock } from '../base/clock.ts';
import { createClock } from '../base/clock.ts';
import { readText } from '../base/text-file.ts';
import type { Native, nativePaths } from '../native.ts';
import type { Inventory } from '../protocol/control.ts';
import { computePeak, readCpu } from './cpu.ts';
import { readLimits } from './limits.ts';
import { measureCpuPeak } from './measured-peak.ts';
import { createSlowFacts, type SlowFacts } from './slow-facts.ts';

const DEADLINE_MS = 3000;
const MAX_TEXT = 1024;
const MAX_LIMITATIONS = 32;

export interface InventoryOptions {
  readonly native: Native | null;
  readonly paths: ReturnType<typeof nativePaths>;
  readonly stateDir: string;
  readonly config: {
    readonly jobCpus: number | null;
    readonly jobMemoryBytes: number | null;
    readonly name: string | null;
  };
  readonly executors: readonly string[];
  readonly limitations: readonly string[];
  readonly procRoot: string;
  readonly sysRoot: string;
  /** Folder of os-release; tests pass a copy. */
  readonly etcRoot?: string;
  /** Stands in for systeminformation; null leaves it out. */
  readonly ask?: SlowFacts | null;
  readonly clock?: Clock;
  /** CPU time of this process so far, ms. */
  readonly cpuTimeMs?: () => number;
}

/** Resolves in a few milliseconds where the cheap sources suffice, else after DEADLINE_MS at most. Never rejects. */
export async function readInventory(options: InventoryOptions): Promise<Inventory> {
  const { native, stateDir, config, procRoot, sysRoot, etcRoot = '/etc', clock = createClock() } = options;
  const facts = readCpu(procRoot, sysRoot);
  const limits = readLimits(procRoot, sysRoot);
  const memoryBytes = readMemoryBytes(procRoot) ?? totalmem();
  const threads = facts.threads ?? (cpus().length || availableParallelism());
  const usable = Math.min(threads, limits.affinityCpus ?? availableParallelism());

  const os = readOs(etcRoot);
  const virtualisation = readVirtualisation(sysRoot, facts.flags);
  const ask = options.ask === undefined ? createSlowFacts() : options.ask;
  const open = <Fact>(known: Fact | null, question: ((ask: SlowFacts) => Promise<Fact | null>) | null) =>
    known !== null || ask === null || question === null ? known : withinDeadline(clock, question(ask));
  const [slowOs, slowModel, slowHost] = await Promise.all([
    open(os, (one) => one.os()),
    open(facts.model, (one) => one.cpuModel()),
    open(virtualisation === 'unnamed' ? null : virtualisation, (one) => one.virtualHost()),
  ]);
  // Not beside the questions: their children would take the cores that are measured.
  const measured = await measureCpuPeak({
    native,
    stateDir,
    facts,
    threads: Math.max(1, usable),
    ...(options.cpuTimeMs === undefined ? {} : { cpuTimeMs: options.cpuTimeMs }),
  });
  return {
    hostname: hostname().slice(0, 253),
    os: slowOs?.slice(0, MAX_TEXT) ?? null,
    kernel: `${type()} ${release()}`.slice(0, MAX_TEXT),
    architecture: arch(),
    virtualisation: slowHost ?? (virtualisation === 'unnamed' ? 'virtual machine' : virtualisation),
    cpuModel: slowModel?.slice(0, MAX_TEXT) ?? null,
    cpuSockets: facts.sockets,
    cpuCores: facts.cores,
    cpuThreads: threads,
    memoryBytes,
    jobCpus: hundredths(config.jobCpus ?? least(usable, limits.cgroupCpus)),
    jobMemoryBytes: Math.floor(least(memoryBytes, limits.cgroupMemoryBytes, config.jobMemoryBytes)),
    cpuPeakFlops: { computed: computePeak(facts), measured },
    executors: [...options.executors],
    limitations: options.limitations.slice(0, MAX_LIMITATIONS).map((one) => one.slice(0, MAX_TEXT)),
  };
}

function least(first: number, ...others: (number | null)[]): number {
  return Math.min(first, ...others.filter((one) => one !== null));
}

/** CPUs in the steps of a job's request, never none. */
function hundredths(value: number): number {
  return Math.max(0.01, Math.floor(value * 100 + 1e-6) / 100);
}

function readMemoryBytes(procRoot: string): number | null {
  const kibibytes = /^MemTotal:\s+(\d+) kB$/m.exec(readText(join(procRoot, 'meminfo')) ?? '')?.[1];
  return kibibytes === undefined ? null : Number(kibibytes) * 1024;
}

function readOs(etcRoot: string): string | null {
  const line = /^PRETTY_NAME=(.*)$/m.exec(readText(join(etcRoot, 'os-release')) ?? '')?.[1];
  return line?.trim().replace(/^(["'])(.*)\1$/, '$2') || null;
}

/** Names that makers of virtual machines put where a real one has its board's. */
const MAKERS: readonly [pattern: RegExp, name: string][] = [
  [
    /KVM|QEMU|OpenStack|Amazon EC2|Google Compute|Alibaba Cloud|Tencent|DigitalOcean|Huawei|RHEV|oVirt/i,
    'kvm',
  ],
  [/VMware/i, 'vmware'],
  [/VirtualBox|innotek/i, 'virtualbox'],
  [/Microsoft Corporation.*Virtual|Hyper-V/i, 'hyperv'],
  [/Xen/i, 'xen'],
  [/Parallels/i, 'parallels'],
  [/bhyve/i, 'bhyve'],
];

/** The hypervisor's name; `unnamed` where there is one that does not say; null where nothing tells either way. */
function readVirtualisation(sysRoot: string, flags: ReadonlySet<string>): string | null {
  const type = readText(join(sysRoot, 'hypervisor', 'type'))?.trim();
  if (type) return type.slice(0, MAX_TEXT);
  const board = ['sys_vendor', 'product_name', 'bios_vendor']
    .map((name) => readText(join(sysRoot, 'class', 'dmi', 'id', name))?.trim() ?? '')
    .join(' ');
  const isVirtual = flags.has('hypervisor');
  // Makers of clouds sell bare machines too: on x86 the flag decides, elsewhere the name must.
  const named = MAKERS.find(([pattern]) => pattern.test(board))?.[1];
  if (isVirtual) return named ?? 'unnamed';
  if (flags.has('fpu')) return 'none';
  return named ?? null;
}

function withinDeadline<Fact>(clock: Clock, answer: Promise<Fact | null>): Promise<Fact | null> {
  return new Promise((resolve) => {
    const timer = clock.after(DEADLINE_MS, () => resolve(null));
    answer
      .catch(() => null)
      .then((fact) => {
        timer.cancel();
        resolve(fact);
      });
  });
}
