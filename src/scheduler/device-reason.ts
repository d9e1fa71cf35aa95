// The words about devices in the sentence why a job waits: what stands in its way, and what can be done about it.
import type { AcceleratorRequest } from '../protocol/spec.ts';
import type { NodeLoad, PlacementNode } from './demand.ts';
import { isCalled, isLargeEnough, isOfKind, type PlacementDevice } from './device-choice.ts';
import { describeBytes, list } from './words.ts';

/** Models named one by one. */
const MODELS_SHOWN = 4;

/** `2 × ascend`, `1 × any accelerator with 40 GiB`, `2 × partition 1g.10gb of h100, shared`. */
export function describeAccelerators(asked: AcceleratorRequest): string {
  const { count, match, memoryBytes, partition, shared } = asked;
  const kind = partition === 'any' ? 'any partition' : `partition ${partition}`;
  const what =
    partition === null ? (match ?? 'any accelerator') : match === null ? kind : `${kind} of ${match}`;
  const memory = memoryBytes === null ? '' : ` with ${describeBytes(memoryBytes)}`;
  return `${count} × ${what}${memory}${shared ? ', shared' : ''}`;
}

/** Everything that the job asks for, whether or not it takes jobs now. */
function wanted(devices: readonly PlacementDevice[], asked: AcceleratorRequest): readonly PlacementDevice[] {
  return devices.filter(
    (device) =>
      isOfKind(device, asked.partition) &&
      isCalled(device, asked.match) &&
      isLargeEnough(device, asked.memoryBytes),
  );
}

/** Why none of these nodes has enough devices even when empty; null where one has. */
export function deviceShortfall(asked: AcceleratorRequest, nodes: readonly PlacementNode[]): string | null {
  const all = nodes.flatMap(({ devices }) => devices);
  if (all.length === 0)
    return `no node has accelerators (asked for ${describeAccelerators(asked)}); join one that has`;
  const ofKind = all.filter((device) => isOfKind(device, asked.partition));
  if (ofKind.length === 0) {
    const cut = all.filter(({ parentId }) => parentId !== null);
    if (cut.length === 0) return 'no accelerator is cut into partitions; cut one, or ask for whole ones';
    return `no accelerator has a partition "${asked.partition}" (there are ${models(cut)}); ask for one of those`;
  }
  const called = ofKind.filter((device) => isCalled(device, asked.match));
  if (called.length === 0)
    return `no accelerator is called "${asked.match}" (there are ${models(ofKind)}); ask for one of those`;
  const large = called.filter((device) => isLargeEnough(device, asked.memoryBytes));
  if (large.length === 0) {
    const known = called.flatMap(({ memoryBytes }) => memoryBytes ?? []);
    const most =
      known.length === 0 ? 'which is not known' : `the most is ${describeBytes(Math.max(...known))}`;
    return `none of ${models(called)} has ${describeBytes(asked.memoryBytes ?? 0)} of memory, ${most}; ask for less`;
  }
  return countShortfall(asked, nodes);
}

function countShortfall(asked: AcceleratorRequest, nodes: readonly PlacementNode[]): string | null {
  const counts = nodes.map((node) => {
    const suiting = wanted(node.devices, asked);
    return { node, most: mostOfOneVendor(suiting), suiting };
  });
  const largest = counts.reduce((a, b) => (b.most > a.most ? b : a));
  if (largest.most < asked.count)
    return `needs ${describeAccelerators(asked)}, the most on one connected node is ${largest.most} on ${largest.node.name}; ask for fewer`;
  const enough = counts.filter(({ most }) => most >= asked.count);
  const open = (suiting: readonly PlacementDevice[]) => suiting.filter(({ closed }) => closed === null);
  if (enough.some(({ suiting }) => mostOfOneVendor(open(suiting)) >= asked.count)) return null;
  const best = enough.reduce((a, b) => (open(b.suiting).length > open(a.suiting).length ? b : a));
  const { node, suiting } = best;
  return `needs ${describeAccelerators(asked)}, but ${suiting.length - open(suiting).length} of ${suiting.length} accelerators of ${node.name} take no jobs: ${closedText(suiting)}; ${remedy(node, suiting)}`;
}

function mostOfOneVendor(devices: readonly PlacementDevice[]): number {
  const counts = new Map<string, number>();
  for (const { vendor } of devices) counts.set(vendor, (counts.get(vendor) ?? 0) + 1);
  return Math.max(0, ...counts.values());
}

/** What of one node's devices is free, held and closed; for a job that lacks devices only. */
export function deviceObstacle(load: NodeLoad, asked: AcceleratorRequest): string {
  const { node, devices } = load;
  const suiting = wanted(node.devices, asked);
  const isHeld = (device: PlacementDevice): boolean => !devices.isFree(device, asked);
  const open = suiting.filter(({ closed }) => closed === null);
  const free = open.filter((device) => !isHeld(device));
  const holders = new Set(open.filter(isHeld).flatMap((device) => holdersOf(device, load)));
  const parts = [`${free.length} of ${suiting.length} accelerators of ${node.name} ${are(free.length)} free`];
  if (free.length < open.length)
    parts.push(
      `${open.length - free.length} ${are(open.length - free.length)} held by ${list([...holders])}`,
    );
  if (open.length < suiting.length) parts.push(closedText(suiting), remedy(node, suiting));
  return parts.join(', ');
}

/** Jobs that keep a device from others: its own, those of its partitions, or of the device it is cut from. */
function holdersOf(device: PlacementDevice, { node, devices }: NodeLoad): readonly string[] {
  const related = [device.id];
  if (device.parentId !== null) related.push(device.parentId);
  else related.push(...node.devices.filter(({ parentId }) => parentId === device.id).map(({ id }) => id));
  return related.flatMap((id) => devices.holders(id));
}

const are = (count: number): string => (count === 1 ? 'is' : 'are');

/** `1 is cordoned (alice: fan), 2 are faulty (xid-79)`. */
function closedText(devices: readonly PlacementDevice[]): string {
  const parts: string[] = [];
  for (const kind of ['cordoned', 'faulty'] as const) {
    const whys = devices.flatMap(({ closed }) => (closed?.kind === kind ? closed.why : []));
    if (whys.length > 0)
      parts.push(`${whys.length} ${are(whys.length)} ${kind} (${list([...new Set(whys)])})`);
  }
  return parts.join(', ');
}

function remedy(node: PlacementNode, devices: readonly PlacementDevice[]): string {
  const cordoned = devices.find(({ closed }) => closed?.kind === 'cordoned');
  if (cordoned !== undefined) return `bring it back with "flopd resume ${node.name}/${cordoned.id}"`;
  return `see "flopd node ${node.name}"`;
}

/** `8 × NVIDIA H100 80GB HBM3 and 4 × 910B3`. */
function models(devices: readonly PlacementDevice[]): string {
  const counts = new Map<string, number>();
  for (const { name, profile, vendor } of devices) {
    const model = profile ?? name ?? `unnamed ${vendor}`;
    counts.set(model, (counts.get(model) ?? 0) + 1);
  }
  return list(
    [...counts].map(([model, count]) => `${count} × ${model}`),
    MODELS_SHOWN,
  );
}
