// Which job goes where, and why the others wait. No I/O and no clock: waiting jobs and node states in, assignments
// and sentences out. Memory follows the changes that it is told of, so that one event costs the same with ten and
// with ten thousand jobs waiting; sentences are made only when somebody asks.
//
// Filter: connected, executor offered, accelerators, free CPUs and memory. Score: best fit, the node that keeps
// the least CPU free afterwards, so that large holes stay whole. Order: priority, then submission.
//
// A job that fits an empty node but finds none free now reserves one: nothing behind it in the order may start
// there, so small jobs cannot starve a large one; they may still fill the other nodes. The reservation stays on its
// node, which therefore drains. At most SCAN_LIMIT blocked jobs are looked at per event.
//
// Jobs that no connected node could take even when empty are parked apart, by what they ask for, so that they are
// looked at only when a node changes.
import { type Demand, fitsEmpty, fitsNow, type NodeLoad, type PlacementNode } from './demand.ts';
import { unplaceableReason, waitingReason } from './placement-reason.ts';
import { createWaitingLine } from './queue/waiting-line.ts';

/** Blocked jobs that one call of `decide` looks at. */
export const SCAN_LIMIT = 128;

export interface WaitingJob {
  readonly id: string;
  readonly priority: number;
  /** Order of submission. */
  readonly sequence: number;
  readonly demand: Demand;
}

export interface Assignment {
  readonly jobId: string;
  readonly nodeId: string;
}

export interface Placement {
  /** Takes in a waiting job; one that is known already is left alone. */
  add(job: WaitingJob): void;
  /** The job waits no longer. */
  remove(jobId: string): void;
  /** Makes a node known or replaces what is known of it. */
  setNode(node: PlacementNode): void;
  /** Counts a job against a node, whether or not that node is connected. */
  hold(jobId: string, nodeId: string, demand: Demand): void;
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
  readonly demand: Demand;
  readonly jobs: Map<string, WaitingJob>;
  placeable: boolean;
}

export function createPlacement(): Placement {
  const loads = new Map<string, Load>();
  const held = new Map<string, { load: Load; demand: Demand }>();
  const shapes = new Map<string, Shape>();
  const shapeOf = new Map<string, Shape>();
  /** Jobs that some connected node could take when empty. */
  const line = createWaitingLine<WaitingJob>();
  /** Blocked job → node that is kept for it. */
  let reservations = new Map<string, string>();
  /** Held by jobs on nodes that are not known yet (before their first hello). */
  const unknownNode = (id: string): PlacementNode => {
    return { id, name: id, cpuHundredths: 0, memoryBytes: 0, executors: [], available: false };
  };

  function loadOf(nodeId: string): Load {
    const known = loads.get(nodeId);
    if (known !== undefined) return known;
    const load: Load = {
      node: unknownNode(nodeId),
      heldCpuHundredths: 0,
      heldMemoryBytes: 0,
      heldBy: new Set(),
    };
    loads.set(nodeId, load);
    return load;
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
      if (placeable === shape.placeable) continue;
      shape.placeable = placeable;
      for (const job of shape.jobs.values()) {
        if (placeable) line.add(job);
        else line.remove(job.id);
      }
    }
  }

  function forget(jobId: string): void {
    const shape = shapeOf.get(jobId);
    if (shape === undefined) return;
    shapeOf.delete(jobId);
    shape.jobs.delete(jobId);
    if (shape.jobs.size === 0) shapes.delete(shapeKey(shape.demand));
    line.remove(jobId);
    reservations.delete(jobId);
  }

  function hold(jobId: string, nodeId: string, demand: Demand): void {
    if (held.has(jobId)) return;
    const load = loadOf(nodeId);
    load.heldCpuHundredths += demand.cpuHundredths;
    load.heldMemoryBytes += demand.memoryBytes;
    load.heldBy.add(jobId);
    held.set(jobId, { load, demand });
  }

  return {
    add(job) {
      if (shapeOf.has(job.id)) return;
      const key = shapeKey(job.demand);
      let shape = shapes.get(key);
      if (shape === undefined) {
        shape = { demand: job.demand, jobs: new Map(), placeable: isPlaceable(job.demand) };
        shapes.set(key, shape);
      }
      shape.jobs.set(job.id, job);
      shapeOf.set(job.id, shape);
      if (shape.placeable) line.add(job);
    },
    remove: forget,
    setNode(node) {
      const load = loadOf(node.id);
      const before = load.node;
      load.node = node;
      reviewShapes(before, node);
    },
    hold,
    release(jobId) {
      const holding = held.get(jobId);
      if (holding === undefined) return;
      held.delete(jobId);
      holding.load.heldCpuHundredths -= holding.demand.cpuHundredths;
      holding.load.heldMemoryBytes -= holding.demand.memoryBytes;
      holding.load.heldBy.delete(jobId);
    },
    decide() {
      if (line.size === 0) return [];
      const open = new Set<Load>();
      for (const load of loads.values()) if (load.node.available) open.add(load);
      const kept = new Map<string, string>();
      const assignments: Assignment[] = [];
      let blocked = 0;
      for (const job of line) {
        if (open.size === 0 || blocked >= SCAN_LIMIT) break;
        const best = bestFit(open, job.demand);
        if (best !== null) {
          forget(job.id);
          hold(job.id, best.node.id, job.demand);
          assignments.push({ jobId: job.id, nodeId: best.node.id });
          continue;
        }
        blocked += 1;
        const reserved = chooseReservation(open, job.demand, reservations.get(job.id));
        if (reserved === null) continue;
        kept.set(job.id, reserved.node.id);
        open.delete(reserved);
      }
      reservations = kept;
      return assignments;
    },
    reason(jobId) {
      const shape = shapeOf.get(jobId);
      if (shape === undefined) return null;
      const all = [...loads.values()];
      if (!shape.placeable)
        return unplaceableReason(
          shape.demand,
          all.map((load) => load.node),
        );
      const candidates = all.filter(({ node }) => node.available && fitsEmpty(node, shape.demand));
      return waitingReason(
        shape.demand,
        candidates,
        line.ahead(jobId),
        reservationsOfOthers(reservations, jobId),
      );
    },
    load: (nodeId) => loads.get(nodeId) ?? null,
    get waiting() {
      return shapeOf.size;
    },
  };
}

function shapeKey(demand: Demand): string {
  const accelerators =
    demand.accelerators === null ? '' : `${demand.accelerators.count} ${demand.accelerators.match ?? ''}`;
  return `${demand.cpuHundredths}\n${demand.memoryBytes}\n${demand.executor}\n${accelerators}`;
}

/** The node that fits and keeps the least CPU free afterwards; equal ones by id. */
function bestFit(open: ReadonlySet<Load>, demand: Demand): Load | null {
  let best: Load | null = null;
  let bestFree = 0;
  for (const load of open) {
    if (!fitsNow(load, demand)) continue;
    const free = load.node.cpuHundredths - load.heldCpuHundredths;
    if (best === null || free < bestFree || (free === bestFree && load.node.id < best.node.id)) {
      best = load;
      bestFree = free;
    }
  }
  return best;
}

/** The node reserved before, while it still could take the job; else the one with the most CPU free. */
function chooseReservation(
  open: ReadonlySet<Load>,
  demand: Demand,
  earlier: string | undefined,
): Load | null {
  let best: Load | null = null;
  let bestFree = Number.NEGATIVE_INFINITY;
  for (const load of open) {
    if (!fitsEmpty(load.node, demand)) continue;
    if (load.node.id === earlier) return load;
    const free = load.node.cpuHundredths - load.heldCpuHundredths;
    if (free > bestFree) {
      best = load;
      bestFree = free;
    }
  }
  return best;
}

/** Node → job that it is kept for, without the job asked about. */
function reservationsOfOthers(reservations: ReadonlyMap<string, string>, jobId: string): Map<string, string> {
  const byNode = new Map<string, string>();
  for (const [holder, nodeId] of reservations) if (holder !== jobId) byNode.set(nodeId, holder);
  return byNode;
}
