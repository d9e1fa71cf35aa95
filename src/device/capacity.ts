// What jobs may use of this host together.
import { availableParallelism, cpus, totalmem } from 'node:os';
import { readLimits } from './limits.ts';

export interface Capacity {
  readonly cpus: number;
  readonly memoryBytes: number;
}

/**
 * What machine and this process's limits grant, or what the operator says. Memory never more than there is; CPUs may
 * be, for jobs that mostly wait: each is still held to its own.
 */
export function decideCapacity(
  config: { readonly cpus: number | null; readonly memoryBytes: number | null },
  procRoot: string,
  sysRoot: string,
): Capacity {
  const limits = readLimits(procRoot, sysRoot);
  const least = (...values: (number | null)[]): number =>
    Math.min(...values.filter((value) => value !== null));
  const threads = least(
    cpus().length || availableParallelism(),
    limits.affinityCpus ?? availableParallelism(),
  );
  const cores = config.cpus ?? least(threads, limits.cgroupCpus);
  return {
    // In the steps of a job's request, never none.
    cpus: Math.max(0.01, Math.floor(cores * 100 + 1e-6) / 100),
    memoryBytes: Math.floor(least(totalmem(), limits.cgroupMemoryBytes, config.memoryBytes)),
  };
}
