// Which devices of a node a job is given. Pure.
//
// Filter: what the job asks for (vendor and model words, memory, whole device or kind of partition), takes new jobs,
// not held by others. All devices of a job are of one vendor, and of one model where there are enough of it. Score:
// the model with the least memory that fits; within it the set that is linked best, and of those the one that leaves
// the best links among what stays free.
import type { DeviceLink } from '../protocol/device.ts';
import type { AcceleratorRequest } from '../protocol/spec.ts';
import type { DeviceHolds, HeldDevice } from './device-holds.ts';

/** One device or partition as placement sees it. */
export interface PlacementDevice extends HeldDevice {
  readonly vendor: string;
  readonly index: number;
  readonly name: string | null;
  /** What a request may call it: see `deviceWords`. */
  readonly words: ReadonlySet<string>;
  /** Kind of partition; null for a device. */
  readonly profile: string | null;
  /** A device that is cut into partitions now. */
  readonly isCut: boolean;
  readonly numaNode: number | null;
  readonly links: readonly DeviceLink[];
  /** Why it takes no new jobs, or null. */
  readonly closed: { readonly kind: 'cordoned' | 'faulty'; readonly why: string } | null;
}

export interface DeviceChoice {
  /** By ascending index. */
  readonly ids: readonly string[];
  /** Of one of them; infinite where nobody knows. */
  readonly memoryBytes: number;
  /** How well they are linked. */
  readonly linked: number;
  /** Devices that would still fit the same request. */
  readonly left: number;
}

/** Neighbouring words of a name that may also be written as one. */
const WORDS_JOINED = 3;
/** Sets are compared from this many first devices, and not at all among more candidates: those are partitions. */
const SEEDS = 64;
const CANDIDATES = 256;
/** The vendors' words for ways over the host, from the fastest; every other kind of link joins devices directly. */
const hostPaths: Readonly<Record<string, number>> = {
  pix: 4,
  pxb: 3,
  phb: 2,
  pcie: 2,
  node: 1,
  sys: 0,
  soc: 0,
};
const DIRECT = 8;

function wordsOf(text: string): string[] {
  return text
    .toLowerCase()
    .split(/[^\p{L}\p{N}]+/u)
    .filter((word) => word !== '');
}

/**
 * All that a request may call a device: the words of vendor and names in lower case, a word that begins with the
 * vendor also without it, and neighbours written as one (`rtx4090`).
 */
export function deviceWords(vendor: string, names: readonly (string | null)[]): Set<string> {
  const found = new Set<string>();
  const maker = vendor.toLowerCase();
  for (const name of names) {
    const words = wordsOf(name ?? '').flatMap((word) =>
      word.startsWith(maker) && word !== maker ? [maker, word.slice(maker.length)] : [word],
    );
    if (words[0] !== maker) words.unshift(maker);
    for (let from = 0; from < words.length; from += 1)
      for (let to = from + 1; to <= Math.min(words.length, from + WORDS_JOINED); to += 1)
        found.add(words.slice(from, to).join(''));
  }
  return found;
}

/** Whether a device is what the request calls for by name. */
export function isCalled(device: Pick<PlacementDevice, 'words'>, match: string | null): boolean {
  if (match === null) return true;
  const words = wordsOf(match);
  return words.length > 0 && words.every((word) => device.words.has(word));
}

/** Whether it is a device, or a partition of the kind, that the request is about. */
export function isOfKind(
  device: Pick<PlacementDevice, 'parentId' | 'profile'>,
  partition: string | null,
): boolean {
  if (partition === null) return device.parentId === null;
  if (device.parentId === null) return false;
  const asked = partition.toLowerCase();
  return asked === 'any' || device.profile?.toLowerCase() === asked;
}

/** Whether it has the memory; one of unknown size has none that could be promised. */
export function isLargeEnough(
  device: Pick<PlacementDevice, 'memoryBytes'>,
  memoryBytes: number | null,
): boolean {
  return memoryBytes === null || (device.memoryBytes ?? -1) >= memoryBytes;
}

/** What the request asks for and what takes new jobs, whoever holds it. */
export function suitableDevices(
  devices: readonly PlacementDevice[],
  request: AcceleratorRequest,
): readonly PlacementDevice[] {
  return devices.filter(
    (device) =>
      device.closed === null &&
      isOfKind(device, request.partition) &&
      isCalled(device, request.match) &&
      isLargeEnough(device, request.memoryBytes),
  );
}

/** Whether enough of one vendor are there; none of them is held. */
export function hasEnough(devices: readonly PlacementDevice[], request: AcceleratorRequest): boolean {
  return [...grouped(suitableDevices(devices, request), ({ vendor }) => vendor).values()].some(
    (group) => group.length >= request.count,
  );
}

/** `kept` are devices that others have been promised. Null where not enough are free. */
export function chooseDevices(
  devices: readonly PlacementDevice[],
  holds: DeviceHolds,
  request: AcceleratorRequest,
  kept: ReadonlySet<string> = new Set(),
): DeviceChoice | null {
  const free = suitableDevices(devices, request).filter(
    (device) => !kept.has(device.id) && holds.isFree(device, request),
  );
  if (free.length < request.count) return null;
  const group = bestGroup(free, request.count);
  if (group === null) return null;
  const ordered = [...group].sort(
    (a, b) => rank(a, holds) - rank(b, holds) || a.index - b.index || (a.id < b.id ? -1 : 1),
  );
  // Sharers stand together, so that other devices stay whole.
  const shared = ordered.filter(({ id }) => holds.holders(id).length > 0);
  const pool = shared.length >= request.count ? fewestHolders(shared, holds, request.count) : ordered;
  const { chosen, linked } = bestSet(pool, request.count);
  const byIndex = [...chosen].sort((a, b) => a.index - b.index || (a.id < b.id ? -1 : 1));
  return {
    ids: byIndex.map(({ id }) => id),
    memoryBytes: Math.max(...chosen.map(({ memoryBytes }) => memoryBytes ?? Number.POSITIVE_INFINITY)),
    linked,
    left: free.length - request.count,
  };
}

/** Partitions of devices that are cut already come first, so that others stay whole. */
function rank(device: PlacementDevice, holds: DeviceHolds): number {
  return device.parentId !== null && !holds.isCut(device.parentId) ? 1 : 0;
}

function fewestHolders(
  devices: readonly PlacementDevice[],
  holds: DeviceHolds,
  count: number,
): readonly PlacementDevice[] {
  const sorted = [...devices].sort((a, b) => holds.holders(a.id).length - holds.holders(b.id).length);
  const most = holds.holders(sorted[count - 1]?.id ?? '').length;
  return sorted.filter(({ id }) => holds.holders(id).length <= most);
}

function grouped(
  devices: readonly PlacementDevice[],
  keyOf: (device: PlacementDevice) => string,
): Map<string, PlacementDevice[]> {
  const groups = new Map<string, PlacementDevice[]>();
  for (const device of devices) {
    const key = keyOf(device);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [device]);
    else group.push(device);
  }
  return groups;
}

const modelOf = ({ vendor, name, profile, memoryBytes, isCut }: PlacementDevice): string =>
  [vendor, name ?? '', profile ?? '', memoryBytes ?? '', isCut].join('\n');

/** Enough devices of one model with the least memory; without such a model, of one vendor. */
function bestGroup(free: readonly PlacementDevice[], count: number): readonly PlacementDevice[] | null {
  const leastBytes = (group: readonly PlacementDevice[]): number =>
    Math.min(...group.map(({ memoryBytes }) => memoryBytes ?? Number.POSITIVE_INFINITY));
  const cut = (group: readonly PlacementDevice[]): number => (group.some(({ isCut }) => isCut) ? 1 : 0);
  for (const keyOf of [modelOf, ({ vendor }: PlacementDevice) => vendor]) {
    const [best] = [...grouped(free, keyOf)]
      .filter(([, group]) => group.length >= count)
      .sort(
        ([aKey, a], [bKey, b]) =>
          cut(a) - cut(b) || compare(leastBytes(a), leastBytes(b)) || (aKey < bKey ? -1 : 1),
      );
    if (best !== undefined) return best[1];
  }
  return null;
}

/** As a minus b, but for two infinities. */
function compare(a: number, b: number): number {
  return a === b ? 0 : a < b ? -1 : 1;
}

/** How near two devices are: direct links by their number, else the way over the host, else the NUMA node. */
export function nearness(a: PlacementDevice, b: PlacementDevice): number {
  let near = a.numaNode !== null && a.numaNode === b.numaNode ? 1 : 0;
  for (const [from, to] of [
    [a, b],
    [b, a],
  ] as const)
    for (const { kind, peer, count, up } of from.links)
      if (peer === to.id && up !== false) {
        const path = hostPaths[kind.toLowerCase()];
        near = Math.max(near, path ?? DIRECT + count);
      }
  return near + (modelOf(a) === modelOf(b) ? 0.5 : 0);
}

/** The set of `count` with the nearest devices; of equal ones the one with the fewest ties to the rest. */
function bestSet(
  pool: readonly PlacementDevice[],
  count: number,
): { readonly chosen: readonly PlacementDevice[]; readonly linked: number } {
  if (pool.length > CANDIDATES) return { chosen: pool.slice(0, count), linked: 0 };
  const near = pool.map((a) => pool.map((b) => (a === b ? 0 : nearness(a, b))));
  const between = (a: number, b: number): number => near[a]?.[b] ?? 0;
  const ties = near.map((row) => row.reduce((sum, one) => sum + one, 0));
  let best: { places: number[]; inside: number; outside: number } | null = null;
  for (let seed = 0; seed < Math.min(pool.length, SEEDS); seed += 1) {
    const places = [seed];
    /** Place → its nearness to those chosen so far. */
    const rest = new Map<number, number>();
    for (const place of pool.keys()) if (place !== seed) rest.set(place, between(place, seed));
    let inside = 0;
    while (places.length < count && rest.size > 0) {
      let [next, nextInside] = [-1, -1];
      for (const [place, mine] of rest) {
        // Of equally near ones, the one with the fewest ties to others.
        if (mine < nextInside || (mine === nextInside && (ties[place] ?? 0) >= (ties[next] ?? 0))) continue;
        [next, nextInside] = [place, mine];
      }
      places.push(next);
      rest.delete(next);
      inside += nextInside;
      for (const [place, mine] of rest) rest.set(place, mine + between(place, next));
    }
    const outside = [...rest.values()].reduce((sum, one) => sum + one, 0);
    if (best === null || inside > best.inside || (inside === best.inside && outside < best.outside))
      best = { places, inside, outside };
  }
  const chosen = (best?.places ?? []).flatMap((place) => pool[place] ?? []);
  return { chosen, linked: best?.inside ?? 0 };
}
