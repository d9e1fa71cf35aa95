// Time of a simulation, and the lives that pass in it. A life is one run of a process: what it waits for reaches it
// only while it lives, and waits while it is stopped (SIGSTOP). A killed life goes on running whatever it was doing in
// that turn, but nothing that it does has an effect any more: every far side asks `isAlive` first.
import type { Clock } from '../../src/base/clock.ts';

export interface Life {
  readonly name: string;
  readonly clock: Clock;
  isAlive(): boolean;
  /** Something happens to it: at once, when it goes on, or never. */
  run(fn: () => void): void;
  /** Resolves after so much time, in this life. */
  later(delayMs: number): Promise<void>;
  kill(): void;
  stop(): void;
  go(): void;
  /** Called when it is killed. */
  onKill(fn: () => void): void;
}

export interface Time {
  nowMs(): number;
  at(delayMs: number, fn: () => void): { cancel(): void };
  newLife(name: string): Life;
  /** The wall clock jumps; the monotonic one does not. */
  jump(ms: number): void;
  /** Runs the next event and all that follows from it without waiting. False when there is none before `untilMs`. */
  step(untilMs: number): Promise<boolean>;
  readonly events: number;
}

interface Event {
  readonly atMs: number;
  readonly order: number;
  fn: (() => void) | null;
}

const isBefore = (a: Event, b: Event): boolean => a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);

/** Promises, and what they hand to the next turn of the event loop, twice over. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 2; turn += 1) await new Promise<void>((resolve) => setImmediate(resolve));
}

export function createTime(): Time {
  const heap: Event[] = [];
  let nowMs = 1000;
  let wallOffsetMs = 1.7e12;
  let order = 0;
  let events = 0;

  function push(event: Event): void {
    let at = heap.length;
    heap.push(event);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = heap[parent] as Event;
      if (!isBefore(event, above)) break;
      heap[at] = above;
      at = parent;
    }
    heap[at] = event;
  }

  function pop(): Event | null {
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined) return null;
    if (heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1] as Event, heap[child] as Event)) child += 1;
      if (!isBefore(heap[child] as Event, last)) break;
      heap[at] = heap[child] as Event;
      at = child;
    }
    heap[at] = last;
    return first;
  }

  function at(delayMs: number, fn: () => void): { cancel(): void } {
    order += 1;
    const event: Event = { atMs: nowMs + Math.max(0, delayMs), order, fn };
    push(event);
    return {
      cancel() {
        event.fn = null;
      },
    };
  }

  function newLife(name: string): Life {
    let state: 'alive' | 'stopped' | 'dead' = 'alive';
    let waiting: (() => void)[] = [];
    const ends: (() => void)[] = [];
    function run(fn: () => void): void {
      if (state === 'dead') return;
      if (state === 'stopped') waiting.push(fn);
      else fn();
    }
    return {
      name,
      run,
      isAlive: () => state !== 'dead',
      clock: {
        wallMs: () => wallOffsetMs + nowMs,
        monotonicMs: () => nowMs,
        after: (delayMs, fn) => at(delayMs, () => run(fn)),
      },
      later: (delayMs) => new Promise((resolve) => at(delayMs, () => run(resolve))),
      onKill: (fn) => void ends.push(fn),
      kill() {
        if (state === 'dead') return;
        state = 'dead';
        waiting = [];
        for (const end of ends) end();
      },
      stop() {
        if (state === 'alive') state = 'stopped';
      },
      go() {
        if (state !== 'stopped') return;
        state = 'alive';
        const all = waiting;
        waiting = [];
        for (const fn of all) run(fn);
      },
    };
  }

  return {
    nowMs: () => nowMs,
    at,
    newLife,
    jump(ms) {
      wallOffsetMs += ms;
    },
    async step(untilMs) {
      await settle();
      for (;;) {
        const next = heap[0];
        if (next === undefined || next.atMs > untilMs) {
          nowMs = Math.max(nowMs, untilMs);
          return false;
        }
        pop();
        if (next.fn === null) continue;
        nowMs = Math.max(nowMs, next.atMs);
        events += 1;
        next.fn();
        return true;
      }
    },
    get events() {
      return events;
    },
  };
}
