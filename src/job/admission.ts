// May this order start on this node now? Pure: an order and the state of the node in, a refusal with a stable code
// or null out. The scheduler places jobs; this is the last look, by the one who knows, and it makes three
// mistakes impossible: a job that the node cannot carry out, more jobs at once than it has room for, and a device that
// is not the job's to have.
import type { StartOrder } from '../protocol/control.ts';
import { type DeviceState, refuseDevices, refuseMisfit } from './device-admission.ts';

/** Attempts that one agent holds at most, ended ones with unsettled results included. */
export const HELD_MAX = 10_000;

export interface NodeState {
  /** Executors by name, each with the reason why it does not work at present, or null. */
  readonly executors: ReadonlyMap<string, string | null>;
  /** In hundredths of a core. */
  readonly cpuHundredths: number;
  readonly memoryBytes: number;
  readonly heldCpuHundredths: number;
  readonly heldMemoryBytes: number;
  /** Null where the node grants no devices. */
  readonly devices: DeviceState | null;
  /** Why the walls or limits that it needs cannot stand here (job/containment/), or null. */
  readonly walls: Refusal | null;
  /** Why its data may not be computed here, or leave the job (data-admission.ts), or null. */
  readonly data: Refusal | null;
  /** Attempts held in any phase. */
  readonly held: number;
  /** Why the agent takes no new jobs, or null. */
  readonly draining: string | null;
  /** Why nothing can be made durable, or null. */
  readonly diskProblem: string | null;
}

export interface Refusal {
  readonly code: string;
  readonly message: string;
}

/** Cores as integers, so that sums are exact. */
export function hundredthsOf(cpus: number): number {
  return Math.round(cpus * 100);
}

const refuse = (code: string, message: string): Refusal => ({ code, message });
const cores = (hundredths: number): string => (hundredths === 100 ? '1 CPU' : `${hundredths / 100} CPUs`);

/** Null grants the order. Reasons that will not pass come before those that will. */
export function decideAdmission(order: StartOrder, node: NodeState): Refusal | null {
  const { spec } = order;
  const { memoryBytes } = spec.resources;
  const cpuHundredths = hundredthsOf(spec.resources.cpus);

  const problem = node.executors.get(spec.executor);
  if (problem === undefined)
    return refuse('JOB_EXECUTOR_MISSING', `this node has no executor "${spec.executor}"`);
  if (problem !== null) return refuse('JOB_EXECUTOR_BROKEN', problem);
  const misfit = refuseMisfit(order, node.devices !== null);
  if (misfit !== null) return misfit;
  if (node.data !== null) return node.data;
  if (node.walls !== null) return node.walls;
  if (cpuHundredths > node.cpuHundredths)
    return refuse(
      'JOB_CPUS_EXCEED_NODE',
      `the job asks for ${cores(cpuHundredths)}, this node has ${cores(node.cpuHundredths)}`,
    );
  if (memoryBytes !== null && memoryBytes > node.memoryBytes)
    return refuse(
      'JOB_MEMORY_EXCEEDS_NODE',
      `the job asks for ${memoryBytes} bytes of memory, this node has ${node.memoryBytes}`,
    );

  if (node.draining !== null)
    return refuse('JOB_NODE_DRAINING', `this node takes no new jobs: ${node.draining}`);
  if (node.diskProblem !== null)
    return refuse('JOB_NO_DURABLE_SPACE', `no durable space: ${node.diskProblem}`);
  if (node.held >= HELD_MAX) return refuse('JOB_TOO_MANY', `this node holds ${node.held} jobs already`);

  const freeCpu = node.cpuHundredths - node.heldCpuHundredths;
  if (cpuHundredths > freeCpu)
    return refuse(
      'JOB_CPUS_BUSY',
      `the job asks for ${cores(cpuHundredths)}, ${cores(Math.max(0, freeCpu))} are free`,
    );
  const freeMemory = node.memoryBytes - node.heldMemoryBytes;
  if (memoryBytes !== null && memoryBytes > freeMemory)
    return refuse(
      'JOB_MEMORY_BUSY',
      `the job asks for ${memoryBytes} bytes of memory, ${Math.max(0, freeMemory)} are free`,
    );
  return node.devices === null ? null : refuseDevices(order, node.devices);
}
