// Bytes of files as pieces, and pieces as bytes of files.
import type { FileHandle } from 'node:fs/promises';
import { Fault } from '../base/fault.ts';

export const PIECE_BYTES = 256 * 1024;

/** Bytes [from, to) of a file, each piece in memory of its own. Throws FILES_SHRANK where it ends before. */
export async function* piecesOf(file: FileHandle, from: number, to: number): AsyncGenerator<Uint8Array> {
  for (let at = from; at < to; ) {
    const bytes = Buffer.allocUnsafe(Math.min(PIECE_BYTES, to - at));
    const { bytesRead } = await file.read(bytes, 0, bytes.length, at);
    if (bytesRead === 0) throw new Fault('FILES_SHRANK', 'a file became shorter while it was read');
    at += bytesRead;
    yield bytes.subarray(0, bytesRead);
  }
}

/** All bytes of a file, as long as there are more. */
export async function* piecesToEnd(file: FileHandle): AsyncGenerator<Uint8Array> {
  for (let at = 0; ; ) {
    const bytes = Buffer.allocUnsafe(PIECE_BYTES);
    const { bytesRead } = await file.read(bytes, 0, bytes.length, at);
    if (bytesRead === 0) return;
    at += bytesRead;
    yield bytes.subarray(0, bytesRead);
  }
}

/** Takes a stream of pieces apart at other places than it came in. */
export interface PieceReader {
  /** The next `length` bytes in pieces; fewer when the stream ends. */
  take(length: number): AsyncGenerator<Uint8Array>;
  /** The stream is at its end. */
  ended(): Promise<boolean>;
  /** Lets go of the stream. */
  close(): Promise<void>;
}

export function createPieceReader(pieces: AsyncIterable<Uint8Array>): PieceReader {
  const iterator = pieces[Symbol.asyncIterator]();
  let rest: Uint8Array = new Uint8Array();
  let over = false;

  async function fill(): Promise<boolean> {
    while (rest.length === 0 && !over) {
      const next = await iterator.next();
      if (next.done === true) over = true;
      else rest = next.value;
    }
    return rest.length > 0;
  }

  return {
    ended: async () => !(await fill()),
    async close() {
      await iterator.return?.();
    },
    async *take(length) {
      for (let left = length; left > 0 && (await fill()); ) {
        const piece = rest.subarray(0, left);
        rest = rest.subarray(piece.length);
        left -= piece.length;
        yield piece;
      }
    },
  };
}
