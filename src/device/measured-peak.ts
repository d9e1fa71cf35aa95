// The measured peak of the CPU: the native kernel on all threads for a moment, once per machine. The figure is kept
// beside the agent's state under the identity of the CPU; another CPU, microcode or number of threads measures anew.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeFileAtomic } from '../base/atomic-file.ts';
import { describeError } from '../base/fault.ts';
import type { Native } from '../native.ts';
import type { CpuFacts, Peak } from './cpu.ts';

/** Time per precision; two of them and their start stay under 150 ms. */
const MEASURE_MS = 60;
const FILE_VERSION = 1;

export interface MeasureOptions {
  readonly native: Native | null;
  readonly stateDir: string;
  readonly facts: CpuFacts;
  readonly threads: number;
}

/** Never rejects: what could not be measured is null with the reason in `source`. */
export async function measureCpuPeak({ native, stateDir, facts, threads }: MeasureOptions): Promise<Peak> {
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
    const fp64 = await native.measureFlops('fp64', threads, MEASURE_MS);
    const fp32 = await native.measureFlops('fp32', threads, MEASURE_MS);
    const source = `measured: ${fp64.isa} multiply-add kernel on ${threads} threads for ${MEASURE_MS} ms each`;
    const peak = { fp64: usable(fp64.flops), fp32: usable(fp32.flops), source };
    keep(path, identity, peak);
    return peak;
  } catch (error) {
    return { fp64: null, fp32: null, source: `not measured: ${describeError(error)}`.slice(0, 1024) };
  }
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
