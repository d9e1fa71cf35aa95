// Long work cut into slices, so that the event loop hears everybody else in between.
import type { Clock } from './clock.ts';

/** Resolves in a later turn of the event loop, after what waits at its sockets has been heard. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/**
 * Does `work` for at most `sliceMax` items at a time, one slice a turn; the first at once, so that few items are done when
 * this returns. Rejects with what `work` throws, and does no more then.
 */
export async function inSlices<T>(
  items: readonly T[],
  sliceMax: number,
  work: (slice: readonly T[]) => void,
): Promise<void> {
  for (let at = 0; at < items.length; at += sliceMax) {
    if (at > 0) await nextTurn();
    work(at === 0 && items.length <= sliceMax ? items : items.slice(at, at + sliceMax));
  }
}

export interface Turnstile {
  /** Does the task at once, or in a later turn of the event loop. Tasks keep their order. */
  pass(task: () => void): void;
}

/**
 * For many tasks that come at once from many sides: those of one turn of the event loop may take `budgetMs` together, by
 * this clock; the others wait for later turns, so that whoever has nothing to do with them is heard in between.
 */
export function createTurnstile(budgetMs: number, clock: Pick<Clock, 'monotonicMs'>): Turnstile {
  const waiting: (() => void)[] = [];
  /** Null until something has passed in this turn. */
  let turnSinceMs: number | null = null;
  const isOpen = (): boolean => turnSinceMs === null || clock.monotonicMs() - turnSinceMs < budgetMs;

  function begin(): void {
    if (turnSinceMs !== null) return;
    turnSinceMs = clock.monotonicMs();
    setImmediate(() => {
      turnSinceMs = null;
      while (waiting.length > 0 && isOpen()) {
        begin();
        waiting.shift()?.();
      }
    });
  }

  return {
    pass(task) {
      if (waiting.length > 0 || !isOpen()) {
        waiting.push(task);
        return;
      }
      begin();
      task();
    },
  };
}
