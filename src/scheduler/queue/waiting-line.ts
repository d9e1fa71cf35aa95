// Jobs in the order in which they are served: priority (high first), then submission. Adding at the end, removing
// and walking from the head cost the same with ten and with ten thousand jobs. A job that comes back to an earlier
// place only marks its priority as unsorted; the next walk sorts it once.

export interface Waiting {
  readonly id: string;
  readonly priority: number;
  /** Order of submission; unique. */
  readonly sequence: number;
}

export interface WaitingLine<T extends Waiting> {
  readonly size: number;
  add(item: T): void;
  /** False when it was not in the line. */
  remove(id: string): boolean;
  get(id: string): T | null;
  /** From the head. Removing the item just given is safe; other changes during a walk are not. */
  [Symbol.iterator](): Iterator<T>;
  /** How many are ahead of it, or -1. The first call after a change walks the line once. */
  ahead(id: string): number;
}

/** One priority: slots in order, emptied by null; `head` is the first slot that may be in use. */
interface Lane<T> {
  slots: (T | null)[];
  head: number;
  live: number;
  sorted: boolean;
  lastSequence: number;
}

/** Emptied slots are squeezed out when there are this many and they outnumber the jobs. */
const SQUEEZE_SLOTS = 1024;

export function createWaitingLine<T extends Waiting>(): WaitingLine<T> {
  const lanes = new Map<number, Lane<T>>();
  /** Priorities with jobs, high first. */
  let priorities: number[] = [];
  const places = new Map<string, { lane: Lane<T>; slot: number; item: T }>();
  let ranks: Map<string, number> | null = null;

  function laneOf(priority: number): Lane<T> {
    const known = lanes.get(priority);
    if (known !== undefined) return known;
    const lane: Lane<T> = {
      slots: [],
      head: 0,
      live: 0,
      sorted: true,
      lastSequence: Number.NEGATIVE_INFINITY,
    };
    lanes.set(priority, lane);
    priorities = [...lanes.keys()].sort((a, b) => b - a);
    return lane;
  }

  /** Squeezes out emptied slots and restores the order. */
  function tidy(lane: Lane<T>): void {
    const items = lane.slots.filter((item) => item !== null);
    if (!lane.sorted) items.sort((a, b) => a.sequence - b.sequence);
    lane.slots = items;
    lane.head = 0;
    lane.sorted = true;
    lane.lastSequence = items.at(-1)?.sequence ?? Number.NEGATIVE_INFINITY;
    for (const [slot, item] of items.entries()) {
      const place = places.get(item.id);
      if (place !== undefined) place.slot = slot;
    }
  }

  function* walk(): Iterator<T> {
    for (const priority of priorities) {
      const lane = lanes.get(priority);
      if (lane === undefined) continue;
      if (!lane.sorted) tidy(lane);
      while (lane.head < lane.slots.length && lane.slots[lane.head] === null) lane.head += 1;
      for (let slot = lane.head; slot < lane.slots.length; slot += 1) {
        const item = lane.slots[slot];
        if (item !== null && item !== undefined) yield item;
      }
    }
  }

  return {
    get size() {
      return places.size;
    },
    add(item) {
      if (places.has(item.id)) return;
      const lane = laneOf(item.priority);
      if (item.sequence < lane.lastSequence) lane.sorted = false;
      else lane.lastSequence = item.sequence;
      places.set(item.id, { lane, slot: lane.slots.length, item });
      lane.slots.push(item);
      lane.live += 1;
      ranks = null;
    },
    remove(id) {
      const place = places.get(id);
      if (place === undefined) return false;
      const { lane, item } = place;
      places.delete(id);
      lane.slots[place.slot] = null;
      lane.live -= 1;
      ranks = null;
      if (lane.live === 0) {
        lanes.delete(item.priority);
        priorities = priorities.filter((priority) => priority !== item.priority);
      }
      return true;
    },
    get: (id) => places.get(id)?.item ?? null,
    [Symbol.iterator]() {
      for (const lane of lanes.values()) {
        if (lane.slots.length - lane.live > SQUEEZE_SLOTS && lane.slots.length > 2 * lane.live) tidy(lane);
      }
      return walk();
    },
    ahead(id) {
      if (ranks === null) {
        ranks = new Map();
        for (const item of { [Symbol.iterator]: walk }) ranks.set(item.id, ranks.size);
      }
      return ranks.get(id) ?? -1;
    },
  };
}
