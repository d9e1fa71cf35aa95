// What this host is, in two steps: the facts that cost nothing are there at once, the complete inventory comes when
// the slow readers are through. Nobody waits for it but the first hello, and that not for long.
import { availableParallelism, cpus, hostname, totalmem } from 'node:os';
import type { Clock } from '../base/clock.ts';
import { describeError } from '../base/fault.ts';
import type { Log } from '../base/log.ts';
import type { Capacity } from '../device/capacity.ts';
import type { Inventory } from '../protocol/control.ts';

/** How long the first hello waits for the complete inventory; well under the scheduler's patience. */
export const INVENTORY_DEADLINE_MS = 2500;

/** The inventory as far as it is known without reading anything slow. */
export function cheapInventory(
  capacity: Capacity,
  executors: readonly string[],
  limitations: readonly string[],
): Inventory {
  const processors = cpus();
  const unknown = { fp64: null, fp32: null, source: 'not read yet' };
  return {
    hostname: hostname().slice(0, 253),
    os: null,
    kernel: null,
    architecture: process.arch,
    virtualisation: null,
    cpuModel: processors[0]?.model.slice(0, 1024) ?? null,
    cpuSockets: null,
    cpuCores: null,
    cpuThreads: processors.length || availableParallelism(),
    memoryBytes: totalmem(),
    jobCpus: capacity.cpus,
    jobMemoryBytes: capacity.memoryBytes,
    cpuPeakFlops: { computed: unknown, measured: unknown },
    executors: [...executors],
    limitations: [...limitations, 'the inventory of this host is not complete yet'].slice(0, 32),
  };
}

export interface Facts {
  /** The best that is known now. */
  inventory(): Inventory;
  /** Resolves when the inventory is complete, or after the deadline with what there is. Never rejects. */
  settled(): Promise<Inventory>;
}

export interface FactsParts {
  readonly cheap: Inventory;
  /** Starts the slow reading; may reject. */
  readonly read: () => Promise<Inventory>;
  /** The inventory came after somebody had been told less. */
  readonly onLate: () => void;
  readonly clock: Clock;
  readonly log: Log;
}

export function gatherFacts({ cheap, read, onLate, clock, log }: FactsParts): Facts {
  let present = cheap;
  let isDone = false;
  let toldLess = false;
  const reading = read().then(
    (inventory) => {
      present = inventory;
      isDone = true;
      if (toldLess) onLate();
    },
    (error: unknown) => {
      isDone = true;
      log.warn({}, `the inventory is incomplete: ${describeError(error)}`);
    },
  );
  const deadline = new Promise<void>((resolve) => {
    const timer = clock.after(INVENTORY_DEADLINE_MS, resolve);
    reading.finally(() => timer.cancel());
  });
  return {
    inventory: () => present,
    async settled() {
      await Promise.race([reading, deadline]);
      if (!isDone) toldLess = true;
      return present;
    },
  };
}
