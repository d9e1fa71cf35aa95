// Chunks of one stream that follow one another, taken together: one trip to the disk for many of them.

/** Most that one write takes of chunks that follow one another: a trip to the disk for each would cost more. */
const RUN_BYTES = 1024 * 1024;

export interface Chunk {
  readonly offset: number;
  readonly bytes: Uint8Array;
  /** Its sender knows that it is done with; it counts against MAX_HELD_BYTES instead. */
  held: boolean;
  done(): void;
}

/** Takes the chunks at the head of the queue that follow one another, as many as one write should have. */
export function nextRun(queue: Chunk[]): readonly Chunk[] {
  let end = 0;
  let bytes = 0;
  for (const chunk of queue) {
    const before = queue[end - 1];
    if (before !== undefined && chunk.offset !== before.offset + before.bytes.length) break;
    if (end > 0 && bytes + chunk.bytes.length > RUN_BYTES) break;
    bytes += chunk.bytes.length;
    end += 1;
  }
  return queue.splice(0, end);
}

export const lengthOf = (run: readonly Chunk[]): number =>
  run.reduce((sum, { bytes }) => sum + bytes.length, 0);

export function joined(run: readonly Chunk[]): Uint8Array {
  const [first] = run;
  return run.length === 1 && first !== undefined ? first.bytes : Buffer.concat(run.map(({ bytes }) => bytes));
}
