// What a job asks of a node, and whether a node could give it.
import type { Place } from '../protocol/place.ts';
import type { AcceleratorRequest, JobSpec } from '../protocol/spec.ts';
import type { DataDemand, DataRules } from './data-rules.ts';
import { chooseDevices, type DeviceChoice, hasEnough, type PlacementDevice } from './device-choice.ts';
import type { DeviceHolds } from './device-holds.ts';
import type { JobRecord } from './queue/queue.ts';
import type { SubmitterDemand, SubmitterRules } from './submitter-rules.ts';

/** What a job asks of a node. CPUs are whole hundredths of a core: sums stay exact. */
export interface Demand {
  readonly cpuHundredths: number;
  readonly memoryBytes: number;
  readonly accelerators: AcceleratorRequest | null;
  readonly executor: string;
  /** What it states of its data, and who may have that; none for a job that states nothing. */
  readonly data?: DataDemand | null;
  /** Whose job it is, for nodes that take only some people's. */
  readonly submitter?: SubmitterDemand | null;
}

export interface PlacementNode {
  readonly id: string;
  readonly name: string;
  readonly cpuHundredths: number;
  readonly memoryBytes: number;
  readonly executors: readonly string[];
  /** Its devices and partitions. */
  readonly devices: readonly PlacementDevice[];
  /** Connected and taking jobs. */
  readonly available: boolean;
  /** Who keeps new jobs away from the whole node and why, a clause; null where nobody does. */
  readonly drained: string | null;
  /** Takes nothing, because more than one agent has its key. */
  readonly cloned?: boolean;
  /** Why its agent takes no orders, a sentence; none where it does. */
  readonly refusing?: string | null;
  /** Takes nothing for a moment, because it refused the last order. */
  readonly paused?: boolean;
  /** Has not connected since this scheduler started: what it has is not known. */
  readonly unseen?: boolean;
  /** Where it stands, by its credential; none where that is not known. */
  readonly place?: Place;
  /** Classes of data that it takes. */
  readonly dataClasses?: readonly string[];
}

/** A node with what is held on it at present. */
export interface NodeLoad {
  readonly node: PlacementNode;
  readonly heldCpuHundredths: number;
  readonly heldMemoryBytes: number;
  /** Jobs that hold something, in the order in which they came. */
  readonly heldBy: ReadonlySet<string>;
  readonly devices: DeviceHolds;
}

/** What is kept free on a node for jobs that wait for devices of it. */
export interface Kept {
  readonly cpuHundredths: number;
  readonly memoryBytes: number;
  readonly devices: ReadonlySet<string>;
}

export function demandOf(spec: JobSpec): Demand {
  return {
    cpuHundredths: Math.round(spec.resources.cpus * 100),
    memoryBytes: spec.resources.memoryBytes ?? 0,
    accelerators: spec.resources.accelerators,
    executor: spec.executor,
  };
}

/** Demands as placement needs them; one for all jobs of an array, which share their specification and submitter. */
export function createDemands(
  data: Pick<DataRules, 'demand'>,
  submitters: Pick<SubmitterRules, 'demand'>,
): (job: JobRecord) => Demand {
  const demands = new WeakMap<JobSpec, Demand>();
  return (job) => {
    const known = job.array === null ? undefined : demands.get(job.spec);
    if (known !== undefined) return known;
    const demand = { ...demandOf(job.spec), data: data.demand(job.spec), submitter: submitters.demand(job) };
    if (job.array !== null) demands.set(job.spec, demand);
    return demand;
  };
}

/** Whether the node may have its data now; what else it needs is not looked at. */
export function mayHaveData(node: PlacementNode, { data }: Demand): boolean {
  return data === undefined || data === null || data.refuse(node) === null;
}

/** Whether the node is not known to take nothing from its submitter. */
export function takesFrom(node: PlacementNode, { submitter }: Demand): boolean {
  return submitter === undefined || submitter === null || submitter.refuse(node) === null;
}

/** Whether the node could take it if it were empty and connected; devices that take no jobs do not count. */
export function fitsEmpty(node: PlacementNode, demand: Demand): boolean {
  return (
    demand.cpuHundredths <= node.cpuHundredths &&
    demand.memoryBytes <= node.memoryBytes &&
    node.executors.includes(demand.executor) &&
    (demand.accelerators === null || hasEnough(node.devices, demand.accelerators)) &&
    mayHaveData(node, demand) &&
    takesFrom(node, demand)
  );
}

/** Whether its CPUs and memory are free now and it may have the data, devices aside. */
export function fitsWithoutDevices(load: NodeLoad, demand: Demand, kept: Kept | null = null): boolean {
  return (
    load.heldCpuHundredths + demand.cpuHundredths + (kept?.cpuHundredths ?? 0) <= load.node.cpuHundredths &&
    load.heldMemoryBytes + demand.memoryBytes + (kept?.memoryBytes ?? 0) <= load.node.memoryBytes &&
    load.node.executors.includes(demand.executor) &&
    mayHaveData(load.node, demand) &&
    takesFrom(load.node, demand)
  );
}

const noDevices: DeviceChoice = { ids: [], memoryBytes: 0, linked: 0, left: 0 };

/** The devices that it would get beside what is held and kept there now; null when it does not fit. */
export function chooseNow(load: NodeLoad, demand: Demand, kept: Kept | null = null): DeviceChoice | null {
  if (!fitsWithoutDevices(load, demand, kept)) return null;
  if (demand.accelerators === null) return noDevices;
  return chooseDevices(load.node.devices, load.devices, demand.accelerators, kept?.devices);
}

export function fitsNow(load: NodeLoad, demand: Demand): boolean {
  return chooseNow(load, demand) !== null;
}
