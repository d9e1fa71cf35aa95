// Trees in a store: their lists are files of it, and what they list are files too. A list is gone through in pieces and
// never held as a whole.

import { Fault } from '../base/fault.ts';
import {
  MISSING_RUNS_MAX,
  type MissingAnswer,
  PUT_FILES_MAX,
  type TreePutAnswer,
} from '../protocol/file-api.ts';
import { type FileEntry, readEntries } from '../protocol/files.ts';
import type { FileStore } from './store.ts';
import { createPieceReader, type PieceReader, piecesOf } from './stream.ts';

/** Larger files go on where they stopped; smaller ones are brought anew. */
const RESUMABLE_BYTES = 1024 * 1024;

interface Listed {
  readonly entry: FileEntry;
  /** Which of the files it is. */
  readonly place: number;
}

/** The files of a tree in the order of its list. Throws FILES_MISSING where the store has no such list. */
async function* filesOf(store: FileStore, digest: string): AsyncGenerator<Listed> {
  const list = await store.open(digest);
  if (list === null) throw missing(digest);
  try {
    let place = 0;
    for await (const entries of readEntries(piecesOf(list, 0, (await list.stat()).size)))
      for (const entry of entries) {
        if (entry.kind !== 'file') continue;
        yield { entry, place };
        place += 1;
      }
  } finally {
    await list.close();
  }
}

export function missing(digest: string): Fault {
  return new Fault('FILES_MISSING', `the store of files does not have ${digest}`, {
    remedy: 'bring it first, or wait until its node has brought it',
  });
}

/** What of a tree is not here; counts a use of all that is. */
export async function missingOf(store: FileStore, digest: string): Promise<MissingAnswer> {
  let files = 0;
  let missingFiles = 0;
  let missingBytes = 0;
  let receivedBytes = 0;
  const runs: [number, number][] = [];
  for await (const { entry, place } of filesOf(store, digest)) {
    files += 1;
    if (store.use(entry.digest) !== null) continue;
    missingFiles += 1;
    missingBytes += entry.sizeBytes;
    if (missingFiles === 1) receivedBytes = store.receivedBytes(entry.digest);
    const last = runs.at(-1);
    if (last?.[1] === place) last[1] = place + 1;
    else if (runs.length < MISSING_RUNS_MAX) runs.push([place, place + 1]);
  }
  return { files, missingFiles, missingBytes, runs, receivedBytes };
}

/** Contents of the files [from, to), from byte `offset` of the first on. */
export async function* contentsOf(
  store: FileStore,
  digest: string,
  from: number,
  to: number,
  offset: number,
): AsyncGenerator<Uint8Array> {
  for await (const { entry, place } of filesOf(store, digest)) {
    if (place < from) continue;
    if (place >= to) return;
    const file = await store.open(entry.digest);
    if (file === null) throw missing(entry.digest);
    try {
      yield* piecesOf(file, place === from ? Math.min(offset, entry.sizeBytes) : 0, entry.sizeBytes);
    } finally {
      await file.close();
    }
  }
}

/** Takes contents of the files from `from` on, as they come; what came whole counts, also when the sender breaks off. */
export async function takeContents(
  store: FileStore,
  digest: string,
  from: number,
  offset: number,
  pieces: AsyncIterable<Uint8Array>,
): Promise<TreePutAnswer> {
  const reader = createPieceReader(pieces);
  const batch = store.batch();
  let next = from;
  let receivedBytes = 0;
  try {
    for await (const { entry, place } of filesOf(store, digest)) {
      if (place < from) continue;
      if (place - from >= PUT_FILES_MAX || (entry.sizeBytes > 0 && (await reader.ended()))) break;
      const begin = place === from ? offset : 0;
      if (store.sizeOf(entry.digest) !== null) {
        if ((await countOf(reader, entry.sizeBytes - begin)) < entry.sizeBytes - begin) break;
      } else if (entry.sizeBytes >= RESUMABLE_BYTES || begin > 0) {
        const { sizeBytes } = entry;
        const taken = await store.put(
          entry.digest,
          { offset: begin, sizeBytes },
          reader.take(sizeBytes - begin),
        );
        receivedBytes = taken.complete ? 0 : taken.receivedBytes;
        if (!taken.complete) break;
      } else if (!(await takeSmall(batch, reader, entry))) break;
      next = place + 1;
    }
  } finally {
    await reader.close();
    await batch.flush();
    await batch.drop();
  }
  return { next, receivedBytes };
}

async function takeSmall(
  batch: ReturnType<FileStore['batch']>,
  reader: PieceReader,
  { digest, sizeBytes }: FileEntry,
): Promise<boolean> {
  const file = await batch.create();
  let length = 0;
  try {
    for await (const piece of reader.take(sizeBytes)) {
      await file.write(piece);
      length += piece.length;
    }
  } catch (error) {
    await file.drop();
    throw error;
  }
  if (length < sizeBytes) {
    await file.drop();
    return false;
  }
  await file.end(digest);
  return true;
}

async function countOf(reader: PieceReader, length: number): Promise<number> {
  let count = 0;
  for await (const piece of reader.take(length)) count += piece.length;
  return count;
}
