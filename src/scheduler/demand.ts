// What a job asks of a node, and whether a node could give it.
import type { JobSpec } from '../protocol/spec.ts';

/** What a job asks of a node. CPUs are whole hundredths of a core: sums stay exact. */
export interface Demand {
  readonly cpuHundredths: number;
  readonly memoryBytes: number;
  readonly accelerators: { readonly count: number; readonly match: string | null } | null;
  readonly executor: string;
}

export interface PlacementNode {
  readonly id: string;
  readonly name: string;
  readonly cpuHundredths: number;
  readonly memoryBytes: number;
  readonly executors: readonly string[];
  /** Connected and taking jobs. */
  readonly available: boolean;
}

/** A node with what is held on it at present. */
export interface NodeLoad {
  readonly node: PlacementNode;
  readonly heldCpuHundredths: number;
  readonly heldMemoryBytes: number;
  /** Jobs that hold something, in the order in which they came. */
  readonly heldBy: ReadonlySet<string>;
}

export function demandOf(spec: JobSpec): Demand {
  return {
    cpuHundredths: Math.round(spec.resources.cpus * 100),
    memoryBytes: spec.resources.memoryBytes ?? 0,
    accelerators: spec.resources.accelerators,
    executor: spec.executor,
  };
}

/** Whether the node could take it if it were empty and connected. No node has accelerators in this build. */
export function fitsEmpty(node: PlacementNode, demand: Demand): boolean {
  return (
    demand.accelerators === null &&
    demand.cpuHundredths <= node.cpuHundredths &&
    demand.memoryBytes <= node.memoryBytes &&
    node.executors.includes(demand.executor)
  );
}

/** Whether the node could take it beside what is held there now. */
export function fitsNow(load: NodeLoad, demand: Demand): boolean {
  return (
    fitsEmpty(load.node, demand) &&
    load.heldCpuHundredths + demand.cpuHundredths <= load.node.cpuHundredths &&
    load.heldMemoryBytes + demand.memoryBytes <= load.node.memoryBytes
  );
}
