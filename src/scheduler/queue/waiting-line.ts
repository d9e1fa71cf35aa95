// Jobs in the order in which they are served: priority (high first), then submission. Adding at the end, removing
// and walking from the head cost the same with ten and with ten thousand jobs, and so nearly does asking for the
// place of one. A job that comes back to an earlier place only marks its priority as unsorted; the next walk sorts
// it once.

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
  /** How many are ahead of it, or -1. */
  ahead(id: string): number;
}

/** One priority: slots in order, emptied by null; `head` is the first slot that may be in use. */
interface Lane<T> {
  slots: (T | null)[];
  /** Slots in use in each run of BLOCK_SLOTS. */
  blocks: number[];
  head: number;
  live: number;
  sorted: boolean;
  lastSequence: number;
}

/** Emptied slots are squeezed out when there are this many and they outnumber the jobs. */
const SQUEEZE_SLOTS = 1024;
const BLOCK_SLOTS = 256;
const blockOf = (slot: number): number => Math.floor(slot / BLOCK_SLOTS);

export function createWaitingLine<T extends Waiting>(): WaitingLine<T> {
  const lanes = new Map<number, Lane<T>>();
  /** Priorities with jobs, high first. */
  let priorities: number[] = [];
  const places = new Map<string, { lane: Lane<T>; slot: number; item: T }>();

  function laneOf(priority: number): Lane<T> {
    const known = lanes.get(priority);
    if (known !== undefined) return known;
    const lane: Lane<T> = {
      slots: [],
      blocks: [],
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
    lane.blocks = Array.from({ length: Math.ceil(items.length / BLOCK_SLOTS) }, (_, block) =>
      Math.min(BLOCK_SLOTS, items.length - block * BLOCK_SLOTS),
    );
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
      const block = blockOf(lane.slots.length);
      places.set(item.id, { lane, slot: lane.slots.length, item });
      lane.slots.push(item);
      lane.blocks[block] = (lane.blocks[block] ?? 0) + 1;
      lane.live += 1;
    },
    remove(id) {
      const place = places.get(id);
      if (place === undefined) return false;
      const { lane, item } = place;
      places.delete(id);
      const block = blockOf(place.slot);
      lane.slots[place.slot] = null;
      lane.blocks[block] = (lane.blocks[block] ?? 1) - 1;
      lane.live -= 1;
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
      const place = places.get(id);
      if (place === undefined) return -1;
      const { lane, item } = place;
      if (!lane.sorted) tidy(lane);
      let count = 0;
      for (const priority of priorities) {
        if (priority <= item.priority) break;
        count += lanes.get(priority)?.live ?? 0;
      }
      const block = blockOf(place.slot);
      for (let at = 0; at < block; at += 1) count += lane.blocks[at] ?? 0;
      for (let slot = block * BLOCK_SLOTS; slot < place.slot; slot += 1)
        if (lane.slots[slot] !== null) count += 1;
      return count;
    },
  };
}

/**
 * The jobs of several lines as if they stood in one. A line that `isOver` is left out from then on. Removing the item
 * just given is safe.
 */
export function* inOrder<T extends Waiting>(
  lines: readonly WaitingLine<T>[],
  isOver: (line: WaitingLine<T>) => boolean,
): Generator<readonly [T, WaitingLine<T>]> {
  const heads = lines.map((line) => {
    const walk = line[Symbol.iterator]();
    return { line, walk, next: walk.next() };
  });
  for (;;) {
    let first: (typeof heads)[number] | null = null;
    for (const head of heads) {
      if (head.next.done === true || isOver(head.line)) continue;
      if (first === null || first.next.done === true || isBefore(head.next.value, first.next.value))
        first = head;
    }
    if (first === null || first.next.done === true) return;
    yield [first.next.value, first.line];
    first.next = first.walk.next();
  }
}

function isBefore(a: Waiting, b: Waiting): boolean {
  return a.priority === b.priority ? a.sequence < b.sequence : a.priority > b.priority;
}
