// Long work cut into slices, so that the event loop hears everybody else in between.

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
