// The CPU: its facts from /proc/cpuinfo and /sys, and the two peaks in FLOP/s: computed from clock, cores and the
// table of core designs (peak/cpu.json), and measured by the native kernel, once per machine.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { readText } from '../base/text-file.ts';
import type { Inventory } from '../protocol/control.ts';
import table from './peak/cpu.json' with { type: 'json' };

export type Peak = Inventory['cpuPeakFlops']['computed'];

export interface CpuFacts {
  readonly vendor: string | null;
  readonly model: string | null;
  /** x86: family and model number; Arm: null. */
  readonly family: number | null;
  readonly modelNumber: number | null;
  /** Arm: number of the design, e.g. `0xd0c`. */
  readonly part: string | null;
  readonly microcode: string | null;
  readonly flags: ReadonlySet<string>;
  readonly sockets: number | null;
  readonly cores: number | null;
  /** Hardware threads that are online. */
  readonly threads: number | null;
  readonly clockHertz: number | null;
  /** Where the clock was read. */
  readonly clockSource: string | null;
}

export function readCpu(procRoot: string, sysRoot: string): CpuFacts {
  const processors = parseCpuinfo(readText(join(procRoot, 'cpuinfo')) ?? '');
  const [first = new Map<string, string>()] = processors;
  const topology = readTopology(join(sysRoot, 'devices', 'system', 'cpu'));
  const count = (names: readonly string[]): number | null => {
    const ids = new Set(processors.map((each) => names.map((name) => each.get(name)).join(':')));
    return first.has(names[0] ?? '') ? ids.size : null;
  };
  const mhz = processors.map((each) => Number(each.get('cpu MHz'))).filter((one) => one > 0);
  const limit = readMaxClock(join(sysRoot, 'devices', 'system', 'cpu'));
  const [clockHertz, clockSource] =
    limit !== null
      ? [limit, 'cpuinfo_max_freq']
      : mhz.length > 0
        ? [Math.max(...mhz) * 1e6, 'cpu MHz of /proc/cpuinfo']
        : [null, null];
  const numberOf = (name: string): number | null => (first.has(name) ? Number(first.get(name)) : null);
  return {
    vendor: first.get('vendor_id') ?? first.get('CPU implementer') ?? null,
    model: first.get('model name') ?? null,
    family: numberOf('cpu family'),
    modelNumber: numberOf('model'),
    part: first.get('CPU part') ?? null,
    microcode: first.get('microcode') ?? first.get('CPU revision') ?? null,
    flags: new Set((first.get('flags') ?? first.get('Features') ?? '').split(' ')),
    sockets: topology.sockets ?? count(['physical id']),
    cores: topology.cores ?? count(['core id', 'physical id']),
    threads: topology.threads ?? (processors.length > 0 ? processors.length : null),
    clockHertz,
    clockSource,
  };
}

/** One map of names to values per hardware thread. */
function parseCpuinfo(text: string): Map<string, string>[] {
  const processors: Map<string, string>[] = [];
  for (const block of text.split(/\n\s*\n/)) {
    const fields = new Map<string, string>();
    for (const line of block.split('\n')) {
      const at = line.indexOf(':');
      if (at > 0) fields.set(line.slice(0, at).trim(), line.slice(at + 1).trim());
    }
    if (fields.has('processor')) processors.push(fields);
  }
  return processors;
}

/** Cores are sets of threads that share one; packages likewise. Null where the kernel does not say. */
function readTopology(folder: string): {
  sockets: number | null;
  cores: number | null;
  threads: number | null;
} {
  const cores = new Set<string>();
  const packages = new Set<string>();
  let threads = 0;
  for (const name of readFolder(folder)) {
    if (!/^cpu\d+$/.test(name)) continue;
    const read = (file: string) => readText(join(folder, name, 'topology', file))?.trim();
    const siblings = read('core_cpus_list') ?? read('thread_siblings_list');
    const socket = read('physical_package_id');
    // Offline CPUs have no topology.
    if (siblings === undefined) continue;
    threads += 1;
    cores.add(siblings);
    if (socket !== undefined && socket !== '-1') packages.add(socket);
  }
  const known = (size: number): number | null => (size > 0 ? size : null);
  return { sockets: known(packages.size), cores: known(cores.size), threads: known(threads) };
}

/** Highest nominal clock of any CPU, in Hz. */
function readMaxClock(folder: string): number | null {
  let highest = 0;
  for (const name of readFolder(folder)) {
    if (!/^cpu\d+$/.test(name)) continue;
    const kilohertz = Number(readText(join(folder, name, 'cpufreq', 'cpuinfo_max_freq')) ?? Number.NaN);
    if (kilohertz > highest) highest = kilohertz;
  }
  return highest > 0 ? highest * 1000 : null;
}

interface Design {
  readonly name: string;
  readonly fp64: number | null;
  readonly unsure?: string;
}

/** Cores × clock × operations per cycle and core; null with the reason in `source` where one of them is unknown. */
export function computePeak(facts: CpuFacts): Peak {
  const unknown = (source: string): Peak => ({ fp64: null, fp32: null, source });
  const design = findDesign(facts);
  if (design === null) return unknown('unknown: neither the CPU nor its instruction set is in the table');
  if (design.fp64 === null) return unknown(`unknown: ${design.name}, ${design.unsure ?? 'no figure'}`);
  if (facts.cores === null) return unknown(`unknown: number of cores of ${design.name}`);
  if (facts.clockHertz === null) return unknown(`unknown: clock of ${design.name}`);
  const fp64 = facts.cores * facts.clockHertz * design.fp64;
  const gigahertz = (facts.clockHertz / 1e9).toFixed(3);
  const notes = [
    design.unsure === undefined ? '' : `; not certain: ${design.unsure}`,
    facts.flags.has('hypervisor')
      ? '; virtual machine: a core may be a hardware thread of the machine below'
      : '',
  ];
  const source = `${design.name}: ${facts.cores} cores x ${gigahertz} GHz (${facts.clockSource}) x ${design.fp64} FP64 per cycle; nominal, not sustained${notes.join('')}`;
  return { fp64, fp32: 2 * fp64, source };
}

function findDesign(facts: CpuFacts): Design | null {
  for (const core of table.cores) {
    if (core.vendor !== facts.vendor || !facts.flags.has(core.needs)) continue;
    if (core.part !== undefined ? core.part !== facts.part : core.family !== facts.family) continue;
    if (core.models !== undefined && !isListed(core.models, facts.modelNumber)) continue;
    if (core.brand !== undefined && !new RegExp(core.brand).test(facts.model ?? '')) continue;
    return core;
  }
  return table.generic.find(({ needs }) => needs.every((flag) => facts.flags.has(flag))) ?? null;
}

/** Models stand singly or as [first, last]. */
function isListed(models: readonly (number | number[])[], model: number | null): boolean {
  if (model === null) return false;
  return models.some((each) =>
    typeof each === 'number' ? each === model : model >= (each[0] ?? 0) && model <= (each[1] ?? -1),
  );
}

function readFolder(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}
