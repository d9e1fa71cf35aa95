// The sentence that says why a job waits: what it needs, what stands in its way, and how many are before it.
import { describeDataRefusals } from './data-rules.ts';
import {
  type Demand,
  fitsEmpty,
  fitsNow,
  fitsWithoutDevices,
  mayHaveData,
  type NodeLoad,
  type PlacementNode,
  takesFrom,
} from './demand.ts';
import { describeAccelerators, deviceObstacle, deviceShortfall } from './device-reason.ts';
import { describeBytes, list } from './words.ts';

/** Nodes whose devices are told one by one. */
const NODES_SHOWN = 2;

/** Why no connected node could take it even when empty. */
export function unplaceableReason(demand: Demand, all: readonly PlacementNode[]): string {
  // What a node that was not seen yet takes is not known.
  const nodes = all.filter((node) => node.unseen === true || mayHaveData(node, demand));
  const seen = all.filter((node) => node.unseen !== true);
  if (demand.data != null && seen.length > 0 && !nodes.some((node) => node.unseen !== true))
    return `waiting: ${describeDataRefusals(demand.data, seen)}`;
  const connected = nodes.filter((node) => node.available);
  const able = nodes.filter((node) => !node.available && fitsEmpty(node, demand));
  const [cloned] = able.filter((node) => node.cloned === true);
  if (cloned !== undefined)
    return `waiting: ${cloned.name} could take it, but more than one agent has its key; see "flopd node ${cloned.name}"`;
  const [drained] = able.filter((node) => node.drained !== null);
  if (drained !== undefined)
    return `waiting: ${drained.name} could take it but is drained (${drained.drained}); bring it back with "flopd resume ${drained.name}"`;
  const [paused] = able.filter((node) => node.paused === true);
  if (paused !== undefined)
    return `waiting: ${paused.name} could take it, but refused the last order and is given none for a moment`;
  const barred = nodes.filter((node) => !takesFrom(node, demand) && fitsEmpty(node, anybodys(demand)));
  if (barred.length > 0 && able.length === 0) return `waiting: ${describeBarred(demand, barred)}`;
  // One that takes no orders may offer no executors until it does.
  const closed = nodes
    .filter((node) => (node.refusing ?? null) !== null)
    .map((node) => (node.executors.length > 0 ? node : { ...node, executors: [demand.executor] }));
  const refusing = closed.find((node) => fitsEmpty(node, demand));
  if (refusing !== undefined && (connected.length === 0 || able.some(({ id }) => id === refusing.id)))
    return `waiting: ${refusing.name} could take it, but takes no orders at present: ${refusing.refusing}`;
  if (connected.length === 0 && closed.length === 0) {
    const unseen = nodes.filter((node) => node.unseen === true);
    if (able.length === 0) {
      const away = unseen.length === 0 ? '' : `; not seen since this scheduler started: ${listNames(unseen)}`;
      return `waiting: no node is connected (needs ${describeDemand(demand)})${away}`;
    }
    return `waiting: no node is connected; ${listNames(able)} could take it when it comes back`;
  }
  const comeback = able.length === 0 ? '' : `; ${listNames(able)} could take it but is not connected`;
  return `waiting: ${shortfall(demand, connected.length > 0 ? connected : closed)}${comeback}`;
}

const anybodys = (demand: Demand): Demand => ({ ...demand, submitter: null });

/** What the first of them said names the remedy. */
function describeBarred({ submitter }: Demand, barred: readonly PlacementNode[]): string {
  const [first] = barred;
  const said = first === undefined ? '' : (submitter?.refuse(first) ?? '');
  const who = barred.length === 1 ? '' : `${first?.name}: `;
  return `${listNames(barred)} could take it, but not from its submitter: ${who}${said}`;
}

function shortfall(demand: Demand, connected: readonly PlacementNode[]): string {
  const offering = connected.filter((node) => node.executors.includes(demand.executor));
  if (offering.length === 0) return `no connected node offers the executor "${demand.executor}"`;
  const largestCpu = Math.max(...offering.map((node) => node.cpuHundredths));
  const largestMemory = Math.max(...offering.map((node) => node.memoryBytes));
  if (demand.cpuHundredths > largestCpu) {
    return `needs ${describeCpus(demand.cpuHundredths)}, the largest connected node has ${largestCpu / 100}`;
  }
  if (demand.memoryBytes > largestMemory) {
    return `needs ${describeBytes(demand.memoryBytes)} of memory, the largest connected node has ${describeBytes(largestMemory)}`;
  }
  const devices = demand.accelerators === null ? null : deviceShortfall(demand.accelerators, offering);
  if (devices !== null) return devices;
  return `needs ${describeDemand(demand)}, which no connected node has together`;
}

/**
 * Why a job that fits `candidates` (connected nodes, at least one) has none of them yet.
 * `reserved` tells which node is kept for which other job.
 */
export function waitingReason(
  demand: Demand,
  candidates: readonly NodeLoad[],
  ahead: number,
  reserved: ReadonlyMap<string, string>,
): string {
  const order = ahead <= 0 ? 'no job is ahead' : ahead === 1 ? '1 job is ahead' : `${ahead} jobs are ahead`;
  return `waiting: needs ${describeDemand(demand)}; ${obstacle(demand, candidates, reserved)}; ${order}`;
}

function obstacle(
  demand: Demand,
  candidates: readonly NodeLoad[],
  reserved: ReadonlyMap<string, string>,
): string {
  const free = candidates.filter((load) => fitsNow(load, demand));
  const [first] = candidates;
  if (first === undefined) return 'no connected node fits at present';
  if (free.length > 0) {
    const [open] = free;
    const keeper = open === undefined ? undefined : reserved.get(open.node.id);
    if (open === undefined || keeper === undefined) return 'its turn comes next';
    return `${open.node.name} is kept free for ${keeper}`;
  }
  if (candidates.length === 1) return heldOn(first, demand);
  const { accelerators } = demand;
  const short = candidates.filter((load) => fitsWithoutDevices(load, demand));
  if (accelerators !== null && short.length > 0) {
    const nodes = short.slice(0, NODES_SHOWN).map((load) => deviceObstacle(load, accelerators));
    return (
      nodes.join('; ') + (short.length > NODES_SHOWN ? ` (and ${short.length - NODES_SHOWN} more nodes)` : '')
    );
  }
  const most = candidates.reduce((a, b) => (freeCpu(b) > freeCpu(a) ? b : a));
  return `none of the ${candidates.length} nodes that could take it has that free, the most is ${describeCpus(freeCpu(most))} on ${most.node.name}`;
}

/** What is short on one node and which jobs hold it. */
function heldOn(load: NodeLoad, demand: Demand): string {
  const { node } = load;
  if (demand.accelerators !== null && fitsWithoutDevices(load, demand))
    return deviceObstacle(load, demand.accelerators);
  const cpuShort = load.heldCpuHundredths + demand.cpuHundredths > node.cpuHundredths;
  const what = cpuShort
    ? `${load.heldCpuHundredths / 100} of ${describeCpus(node.cpuHundredths)}`
    : `${describeBytes(load.heldMemoryBytes)} of ${describeBytes(node.memoryBytes)} of memory`;
  const verb = cpuShort && load.heldCpuHundredths !== 100 ? 'are' : 'is';
  return `${what} on ${node.name} ${verb} held by ${list([...load.heldBy])}`;
}

function freeCpu(load: NodeLoad): number {
  return load.node.cpuHundredths - load.heldCpuHundredths;
}

function describeDemand(demand: Demand): string {
  const parts = [describeCpus(demand.cpuHundredths)];
  if (demand.memoryBytes > 0) parts.push(`${describeBytes(demand.memoryBytes)} of memory`);
  if (demand.accelerators !== null) parts.push(describeAccelerators(demand.accelerators));
  return parts.join(' and ');
}

function describeCpus(hundredths: number): string {
  return hundredths === 100 ? '1 CPU' : `${hundredths / 100} CPUs`;
}

function listNames(nodes: readonly PlacementNode[]): string {
  return list(nodes.map((node) => node.name));
}
