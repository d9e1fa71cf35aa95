// Which job goes where and on which devices, and why the others wait. No I/O and no clock: waiting jobs and node
// states in, assignments and sentences out. Memory follows the changes that it is told of, so that one event costs
// the same with ten and with ten thousand jobs waiting; sentences are made only when somebody asks.
//
// Filter: connected, executor offered, may have the data (data-rules.ts), devices (device-choice.ts), free CPUs and memory.
// Time comes in only there: what a filing allowed may be over at the next look. Score: best fit, the node
// that keeps the least free afterwards, so that large holes stay whole. Order: priority, then submission.
//
// A job that fits an empty node but finds none free now reserves one: nothing behind it in the order may start
// there, so small jobs cannot starve a large one; they may still fill the other nodes. The reservation stays on its
// node, which therefore drains. A job that lacks nothing but devices keeps those and its CPUs and memory, so that the
// rest of the node goes on working. At most SCAN_LIMIT blocked jobs are looked at per event, those that ask for
// devices apart: many that wait for devices hold up nobody who asks for none.
//
// Jobs that no connected node could take even when empty are parked apart, by what they ask for, so that they are
// looked at only when a node changes.
import {
  chooseNow,
  type Demand,
  fitsEmpty,
  fitsWithoutDevices,
  type Kept,
  type NodeLoad,
  type PlacementNode,
} from './demand.ts';
import { chooseDevices, type DeviceChoice, suitableDevices } from './device-choice.ts';
import { createDeviceHolds } from './device-holds.ts';
import { unplaceableReason, waitingReason } from './placement-reason.ts';
import { createWaitingLine, inOrder, type WaitingLine } from './queue/waiting-line.ts';

/** Blocked jobs of a line that one call of `decide` looks at. */
export const SCAN_LIMIT = 128;

export interface WaitingJob {
  readonly id: string;
  readonly priority: number;
  /** Order of submission. */
  readonly sequence: number;
  readonly demand: Demand;
  /** The node is taken only where no other fits now; null for none. */
  readonly avoid?: string | null;
}

export interface Assignment {
  readonly jobId: string;
  readonly nodeId: string;
  /** Devices and partitions that it is given. */
  readonly devices: readonly string[];
}

export interface Placement {
  /** Takes in a waiting job; one that is known already is left alone. */
  add(job: WaitingJob): void;
  /** The job waits no longer. */
  remove(jobId: string): void;
  /** Makes a node known or replaces what is known of it. */
  setNode(node: PlacementNode): void;
  /** What demands make of nodes has changed, and no node. */
  review(): void;
  /** A node was removed; nothing runs there any more. */
  dropNode(nodeId: string): void;
  /** Counts a job against a node, whether or not that node is connected. */
  hold(jobId: string, nodeId: string, demand: Demand, devices: readonly string[]): void;
  release(jobId: string): void;
  /** Assigns what fits now. Assigned jobs are held on their node and wait no longer. */
  decide(): readonly Assignment[];
  /** One sentence on why a waiting job waits; null for a job that does not wait. */
  reason(jobId: string): string | null;
  load(nodeId: string): NodeLoad | null;
  readonly waiting: number;
}

interface Load extends NodeLoad {
  node: PlacementNode;
  heldCpuHundredths: number;
  heldMemoryBytes: number;
  readonly heldBy: Set<string>;
}

/** All waiting jobs that ask for the same. */
interface Shape {
  readonly key: string;
  readonly demand: Demand;
  /** Where those that wait for a node stand in line. */
  readonly line: WaitingLine<WaitingJob>;
  readonly jobs: Map<string, WaitingJob>;
  placeable: boolean;
}

export function createPlacement(): Placement {
  const loads = new Map<string, Load>();
  const held = new Map<string, { load: Load; demand: Demand }>();
  const shapes = new Map<string, Shape>();
  const shapeOf = new Map<string, Shape>();
  /** Of demands that are shared, as by the jobs of an array. */
  const keys = new WeakMap<Demand, string>();
  /** Jobs that some connected node could take when empty: those that ask for devices, and the others. */
  const lines = { devices: createWaitingLine<WaitingJob>(), plain: createWaitingLine<WaitingJob>() };
  /** Blocked job → node that is kept for it. */
  let reservations = new Map<string, string>();
  /** Held by jobs on nodes that are not known yet (before their first hello). */
  const unknownNode = (id: string): PlacementNode => {
    const nothing = { cpuHundredths: 0, memoryBytes: 0, executors: [], devices: [] };
    return { id, name: id, ...nothing, available: false, drained: null };
  };

  function loadOf(nodeId: string): Load {
    const known = loads.get(nodeId);
    if (known !== undefined) return known;
    const load: Load = {
      node: unknownNode(nodeId),
      heldCpuHundredths: 0,
      heldMemoryBytes: 0,
      heldBy: new Set(),
      devices: createDeviceHolds(),
    };
    loads.set(nodeId, load);
    return load;
  }

  function keyOf(demand: Demand): string {
    const key = keys.get(demand) ?? textOfShape(demand);
    keys.set(demand, key);
    return key;
  }

  function isPlaceable(demand: Demand): boolean {
    for (const { node } of loads.values()) if (node.available && fitsEmpty(node, demand)) return true;
    return false;
  }

  /** Moves the jobs of a shape between the line and the parked ones when a node has changed. */
  function reviewShapes(before: PlacementNode, now: PlacementNode): void {
    for (const shape of shapes.values()) {
      let { placeable } = shape;
      if (now.available && fitsEmpty(now, shape.demand)) placeable = true;
      // Only a node that could take it before can have been the last one that could.
      else if (before.available && fitsEmpty(before, shape.demand)) placeable = isPlaceable(shape.demand);
      reviewShape(shape, placeable);
    }
  }

  function reviewShape(shape: Shape, placeable: boolean): void {
    if (placeable === shape.placeable) return;
    shape.placeable = placeable;
    for (const job of shape.jobs.values()) {
      if (placeable) shape.line.add(job);
      else shape.line.remove(job.id);
    }
  }

  function forget(jobId: string): void {
    const shape = shapeOf.get(jobId);
    if (shape === undefined) return;
    shapeOf.delete(jobId);
    shape.jobs.delete(jobId);
    if (shape.jobs.size === 0) shapes.delete(shape.key);
    shape.line.remove(jobId);
    reservations.delete(jobId);
  }

  function hold(jobId: string, nodeId: string, demand: Demand, devices: readonly string[]): void {
    if (held.has(jobId)) return;
    const load = loadOf(nodeId);
    load.heldCpuHundredths += demand.cpuHundredths;
    load.heldMemoryBytes += demand.memoryBytes;
    load.heldBy.add(jobId);
    load.devices.hold(jobId, devices, demand.accelerators);
    held.set(jobId, { load, demand });
  }

  return {
    add(job) {
      if (shapeOf.has(job.id)) return;
      const key = keyOf(job.demand);
      let shape = shapes.get(key);
      if (shape === undefined) {
        const line = job.demand.accelerators === null ? lines.plain : lines.devices;
        shape = { key, demand: job.demand, line, jobs: new Map(), placeable: isPlaceable(job.demand) };
        shapes.set(key, shape);
      }
      shape.jobs.set(job.id, job);
      shapeOf.set(job.id, shape);
      if (shape.placeable) shape.line.add(job);
    },
    remove: forget,
    setNode(node) {
      const load = loadOf(node.id);
      const before = load.node;
      load.node = node;
      load.devices.learn(node.devices);
      reviewShapes(before, node);
    },
    review() {
      for (const shape of shapes.values()) reviewShape(shape, isPlaceable(shape.demand));
    },
    dropNode(nodeId) {
      const load = loads.get(nodeId);
      if (load === undefined) return;
      const before = load.node;
      load.node = unknownNode(nodeId);
      reviewShapes(before, load.node);
      if (load.heldBy.size === 0) loads.delete(nodeId);
    },
    hold,
    release(jobId) {
      const holding = held.get(jobId);
      if (holding === undefined) return;
      held.delete(jobId);
      holding.load.heldCpuHundredths -= holding.demand.cpuHundredths;
      holding.load.heldMemoryBytes -= holding.demand.memoryBytes;
      holding.load.heldBy.delete(jobId);
      holding.load.devices.release(jobId);
    },
    decide() {
      if (lines.plain.size + lines.devices.size === 0) return [];
      /** Nodes that still take jobs, each with what is kept there for jobs that wait for devices. */
      const open = new Map<Load, Kept | null>();
      for (const load of loads.values()) if (load.node.available) open.set(load, null);
      const reserved = new Map<string, string>();
      const assignments: Assignment[] = [];
      const blocked = new Map<WaitingLine<WaitingJob>, number>();
      const isOver = (line: WaitingLine<WaitingJob>) => (blocked.get(line) ?? 0) >= SCAN_LIMIT;
      for (const [job, line] of inOrder([lines.devices, lines.plain], isOver)) {
        if (open.size === 0) break;
        const best = bestFit(open, job.demand, job.avoid ?? null);
        if (best !== null) {
          const { load, choice } = best;
          forget(job.id);
          hold(job.id, load.node.id, job.demand, choice.ids);
          assignments.push({ jobId: job.id, nodeId: load.node.id, devices: choice.ids });
          continue;
        }
        blocked.set(line, (blocked.get(line) ?? 0) + 1);
        const load = chooseReservation(open, job.demand, reservations.get(job.id));
        if (load === null) continue;
        reserved.set(job.id, load.node.id);
        const kept = open.get(load) ?? null;
        if (job.demand.accelerators !== null && fitsWithoutDevices(load, job.demand, kept))
          open.set(load, keptFor(load, job.demand, kept));
        else open.delete(load);
      }
      reservations = reserved;
      return assignments;
    },
    reason(jobId) {
      const shape = shapeOf.get(jobId);
      if (shape === undefined) return null;
      const all = [...loads.values()];
      const candidates = all.filter(({ node }) => node.available && fitsEmpty(node, shape.demand));
      if (candidates.length === 0)
        return unplaceableReason(
          shape.demand,
          all.map((load) => load.node),
        );
      return waitingReason(
        shape.demand,
        candidates,
        shape.line.ahead(jobId),
        reservationsOfOthers(reservations, jobId),
      );
    },
    load: (nodeId) => loads.get(nodeId) ?? null,
    get waiting() {
      return shapeOf.size;
    },
  };
}

const textOfShape = ({
  cpuHundredths,
  memoryBytes,
  executor,
  accelerators,
  data,
  submitter,
}: Demand): string =>
  JSON.stringify([
    cpuHundredths,
    memoryBytes,
    executor,
    accelerators,
    data?.data ?? null,
    submitter?.key ?? null,
  ]);

interface Fit {
  readonly load: Load;
  readonly choice: DeviceChoice;
  /** What it is compared by, the least wins. */
  readonly score: readonly number[];
}

/**
 * The node that fits and keeps the least free afterwards, another than the one to avoid if it can: devices first (least memory, best linked, fewest left
 * over), then CPUs; equal ones by id. A job that asks for no devices goes where there are none, if it can.
 */
function bestFit(open: ReadonlyMap<Load, Kept | null>, demand: Demand, avoid: string | null): Fit | null {
  let best: Fit | null = null;
  for (const [load, kept] of open) {
    const choice = chooseNow(load, demand, kept);
    if (choice === null) continue;
    const freeCpu = load.node.cpuHundredths - load.heldCpuHundredths;
    const avoided = load.node.id === avoid ? 1 : 0;
    const score =
      demand.accelerators === null
        ? [avoided, load.node.devices.length === 0 ? 0 : 1, freeCpu]
        : [avoided, choice.memoryBytes, -choice.linked, choice.left, freeCpu];
    if (
      best === null ||
      isLess(score, best.score) ||
      (isEqual(score, best.score) && load.node.id < best.load.node.id)
    )
      best = { load, choice, score };
  }
  return best;
}

function isLess(a: readonly number[], b: readonly number[]): boolean {
  const at = a.findIndex((one, place) => one !== b[place]);
  return at >= 0 && (a[at] ?? 0) < (b[at] ?? 0);
}

function isEqual(a: readonly number[], b: readonly number[]): boolean {
  return a.every((one, place) => one === b[place]);
}

/** The node reserved before, while it still could take the job; else the one with the most free. */
function chooseReservation(
  open: ReadonlyMap<Load, Kept | null>,
  demand: Demand,
  earlier: string | undefined,
): Load | null {
  let best: { load: Load; score: readonly number[] } | null = null;
  for (const [load] of open) {
    if (!fitsEmpty(load.node, demand)) continue;
    if (load.node.id === earlier) return load;
    const score = [-freeDevices(load, demand), load.heldCpuHundredths - load.node.cpuHundredths];
    if (best === null || isLess(score, best.score)) best = { load, score };
  }
  return best?.load ?? null;
}

/** Devices that suit the job and are free now. */
function freeDevices(load: Load, { accelerators }: Demand): number {
  if (accelerators === null) return 0;
  const one = chooseDevices(load.node.devices, load.devices, { ...accelerators, count: 1 });
  return one === null ? 0 : one.left + 1;
}

/**
 * What a job that lacks devices only keeps from those behind it: every device that could become its own, and, for the
 * first such job of a node alone, CPUs and memory. A hundred that wait for devices would otherwise keep all of them.
 */
function keptFor({ node }: Load, demand: Demand, kept: Kept | null): Kept {
  const devices = new Set(kept?.devices);
  if (demand.accelerators !== null)
    for (const device of suitableDevices(node.devices, demand.accelerators)) {
      devices.add(device.id);
      // A device and its partitions exclude each other.
      if (device.parentId !== null) devices.add(device.parentId);
      else for (const { id, parentId } of node.devices) if (parentId === device.id) devices.add(id);
    }
  return {
    cpuHundredths: kept?.cpuHundredths ?? demand.cpuHundredths,
    memoryBytes: kept?.memoryBytes ?? demand.memoryBytes,
    devices,
  };
}

/** Node → job that it is kept for, of those ahead of the job asked about. */
function reservationsOfOthers(reservations: ReadonlyMap<string, string>, jobId: string): Map<string, string> {
  const byNode = new Map<string, string>();
  for (const [holder, nodeId] of reservations) {
    if (holder === jobId) break;
    if (!byNode.has(nodeId)) byNode.set(nodeId, holder);
  }
  return byNode;
}
