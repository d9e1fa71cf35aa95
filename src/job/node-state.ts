// What admission looks at: the state of this node, for one order.
import type { StartOrder } from '../protocol/control.ts';
import { hundredthsOf, type NodeState } from './admission.ts';
import type { Book } from './book.ts';
import { refuseData, refuseEgress } from './data-admission.ts';
import type { DeviceState, HeldDevices } from './device-admission.ts';
import type { JobFolders } from './folders.ts';
import type { Journal } from './journal.ts';
import type { Life } from './life.ts';
import type { JobsOptions } from './supervisor.ts';

export interface NodeStateParts {
  readonly book: Book;
  readonly life: Life;
  readonly journal: Journal;
  readonly folders: JobFolders;
}

export function createNodeState(
  options: JobsOptions,
  { book, life, journal, folders }: NodeStateParts,
): (order: StartOrder) => NodeState {
  /** What is known of devices, for an order that is given some. */
  function deviceState(order: StartOrder): DeviceState | null {
    if (options.devices === undefined) return null;
    const held: HeldDevices[] = [];
    let unknownHolder: string | null = null;
    if (order.devices.length > 0)
      for (const { jobId, epoch, order: of, holds, result } of book.attempts()) {
        const name = `${jobId}.${epoch}`;
        if (of === null && result === null) unknownHolder = name;
        if (of === null || !holds || of.devices.length === 0) continue;
        held.push({ name, ids: of.devices, shared: of.spec.resources.accelerators?.shared ?? false });
      }
    return { records: options.devices.records(), held, unknownHolder, nowMs: options.clock.wallMs() };
  }

  return (order) => {
    const walls = options.walls?.refuse(order);
    return {
      executors: new Map(options.executors.map((executor) => [executor.name, executor.probe()])),
      cpuHundredths: hundredthsOf(options.capacity.cpus),
      memoryBytes: options.capacity.memoryBytes,
      heldCpuHundredths: life.heldCpuHundredths(),
      heldMemoryBytes: life.heldMemoryBytes(),
      devices: deviceState(order),
      walls: walls ?? null,
      data:
        refuseData(order.spec, options.data?.() ?? null, options.clock.wallMs()) ??
        refuseEgress(order.spec, walls),
      held: book.size(),
      draining: options.draining?.() ?? null,
      diskProblem: journal.problem() ?? folders.problem(),
    };
  };
}
