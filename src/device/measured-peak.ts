// The measured peak of the CPU: the best of a few bursts of the native kernel on all threads, once per machine. A
// burst counts only if its threads had the cores to themselves; on a busy host the peak stays absent and is measured
// at the next start, because a figure of what others left over would be kept for good. The figure is kept beside the
// agent's state under the identity of the CPU; another CPU, microcode or number of threads measures anew.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeFileAtomic } from '../base/atomic-file.ts';
import { describeError } from '../base/fault.ts';
import type { Native } from '../native.ts';
import type { CpuFacts, Peak } from './cpu.ts';

const BURST_MS = 15;
/** Bursts per precision: on a quiet host three that agree are enough. */
const BURSTS_MAX = 6;
const AGREEING = 3;
/** Bursts within this of the best agree. */
const AGREEMENT = 0.95;
/** Share of the threads' time that they must have run. What the hypervisor takes is not seen; the best of several is. */
const LEAST_SHARE = 0.9;
/** Single precision does twice as much in a vector register; without vectors as much. Beyond this one of the two is wrong. */
const RATIO = { least: 0.8, most: 3 } as const;
const FILE_VERSION = 2;

export interface MeasureOptions {
  readonly native: Native | null;
  readonly stateDir: string;
  readonly facts: CpuFacts;
  readonly threads: number;
  /** CPU time of this process so far, ms. */
  readonly cpuTimeMs?: () => number;
}

/** Never rejects: what could not be measured is null with the reason in `source`. */
export async function measureCpuPeak(options: MeasureOptions): Promise<Peak> {
  const { native, stateDir, facts, threads } = options;
  const path = join(stateDir, 'agent', 'cpu-peak.json');
  const identity = [
    facts.vendor,
    facts.model,
    facts.modelNumber,
    facts.part,
    facts.microcode,
    threads,
    native?.version,
  ].join('|');
  if (native === null) return { fp64: null, fp32: null, source: 'not measured: the native addon is missing' };
  const kept = readKept(path, identity);
  if (kept !== null) return kept;
  try {
    const fp64 = await bestOf(native, 'fp64', options);
    const fp32 = await bestOf(native, 'fp32', options);
    if (fp64 === null || fp32 === null) return absent('the host was busy');
    const ratio = fp32.flops / fp64.flops;
    if (!(ratio >= RATIO.least && ratio <= RATIO.most))
      return absent(
        `single precision came out ${ratio.toFixed(1)} times double precision, which no CPU does`,
      );
    const source = `measured: ${fp64.isa} multiply-add kernel on ${threads} threads, best of ${fp64.bursts} and ${fp32.bursts} bursts of ${BURST_MS} ms`;
    const peak = { fp64: fp64.flops, fp32: fp32.flops, source };
    keep(path, identity, peak);
    return peak;
  } catch (error) {
    return { fp64: null, fp32: null, source: `not measured: ${describeError(error)}`.slice(0, 1024) };
  }
}

function absent(why: string): Peak {
  return { fp64: null, fp32: null, source: `not measured: ${why}; tried again at the next start` };
}

/** The best burst that had its cores to itself; null where there was none. */
async function bestOf(
  native: Native,
  precision: 'fp64' | 'fp32',
  { threads, cpuTimeMs = processCpuTimeMs }: MeasureOptions,
): Promise<{ flops: number; isa: string; bursts: number } | null> {
  const counted: number[] = [];
  let isa = '';
  let bursts = 0;
  while (bursts < BURSTS_MAX) {
    const beforeMs = cpuTimeMs();
    const burst = await native.measureFlops(precision, threads, BURST_MS);
    bursts += 1;
    isa = burst.isa;
    const ranMs = cpuTimeMs() - beforeMs;
    if (usable(burst.flops) === null || ranMs < LEAST_SHARE * threads * BURST_MS) continue;
    counted.push(burst.flops);
    const enough = AGREEMENT * Math.max(...counted);
    if (counted.filter((flops) => flops >= enough).length >= AGREEING) break;
  }
  return counted.length === 0 ? null : { flops: Math.max(...counted), isa, bursts };
}

function processCpuTimeMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

function usable(flops: number): number | null {
  return Number.isFinite(flops) && flops > 0 ? flops : null;
}

/** The kept figure if it is this CPU's and whole; anything else is as good as none. */
function readKept(path: string, identity: string): Peak | null {
  try {
    const kept: unknown = JSON.parse(readFileSync(path, 'utf8'));
    if (typeof kept !== 'object' || kept === null || !('version' in kept) || kept.version !== FILE_VERSION)
      return null;
    if (!('identity' in kept) || kept.identity !== identity) return null;
    if (!('fp64' in kept) || typeof kept.fp64 !== 'number' || usable(kept.fp64) === null) return null;
    if (!('fp32' in kept) || typeof kept.fp32 !== 'number' || usable(kept.fp32) === null) return null;
    if (!('source' in kept) || typeof kept.source !== 'string' || kept.source.length > 1024) return null;
    return { fp64: kept.fp64, fp32: kept.fp32, source: kept.source };
  } catch {
    return null;
  }
}

/** A figure that cannot be kept is measured again at the next start; that is all. */
function keep(path: string, identity: string, peak: Peak): void {
  if (peak.fp64 === null || peak.fp32 === null) return;
  try {
    writeFileAtomic(path, `${JSON.stringify({ version: FILE_VERSION, identity, ...peak })}\n`, 0o600);
  } catch {
    // The folder is not there (`flopd devices` without an agent) or not writable.
  }
}
