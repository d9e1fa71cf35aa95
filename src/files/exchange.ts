// Whole files and trees to and from a scheduler's store, over as many requests as it takes: each round asks what the
// other side has and goes on from there, so that a broken link, a restart of either side or a second attempt repeat
// nothing that came whole.
import type { Backoff } from '../base/backoff.ts';
import type { Clock } from '../base/clock.ts';
import { Fault, isFault } from '../base/fault.ts';
import { PUT_FILES_MAX } from '../protocol/file-api.ts';
import type { FileStore } from './store.ts';
import type { Transfer } from './transfer.ts';
import { missingOf, takeContents } from './trees.ts';

type Pieces = AsyncIterable<Uint8Array>;
/** Told of bytes that have moved. */
type Moved = (bytes: number) => void;

/** A file or tree to bring, and where its bytes come from. */
export interface Cargo {
  readonly digest: string;
  readonly kind: 'file' | 'tree';
  /** Of the file, or of the list of the tree. */
  readonly sizeBytes: number;
  readonly pieces: (offset: number) => Pieces;
  /** Contents of the files [from, to) of the list; unused for a file. */
  readonly contents: (from: number, to: number, offset: number) => Pieces;
}

/** Brings it to the scheduler's store; resolves when all of it is on disk there. */
export async function bring(transfer: Transfer, cargo: Cargo, moved: Moved): Promise<void> {
  await bringFile(transfer, cargo, moved);
  if (cargo.kind === 'file') return;
  let before = Number.POSITIVE_INFINITY;
  for (;;) {
    const { missingFiles, missingBytes, runs, receivedBytes } = await transfer.missing(cargo.digest);
    if (missingFiles === 0) return;
    // Each round brings all that was missing; bytes that were and are missing again will not come.
    if (missingBytes + missingFiles - receivedBytes >= before)
      throw new Fault('FILES_STUCK', 'the scheduler does not keep the files that are brought to it');
    before = missingBytes + missingFiles - receivedBytes;
    let offset = receivedBytes;
    for (const [from, to] of runs) {
      for (let next = from; next < to; ) {
        const end = Math.min(to, next + PUT_FILES_MAX);
        const pieces = counted(cargo.contents(next, end, offset), moved);
        const answer = await transfer.putTree(cargo.digest, next, offset, pieces);
        if (answer.next === next && answer.receivedBytes <= offset)
          throw new Fault('FILES_STUCK', 'the scheduler takes none of the bytes that are brought to it');
        next = answer.next;
        offset = answer.receivedBytes;
      }
      offset = 0;
    }
  }
}

async function bringFile(transfer: Transfer, cargo: Cargo, moved: Moved): Promise<void> {
  const there = await transfer.head(cargo.digest);
  if (there.sizeBytes !== null) return;
  for (let offset = there.receivedBytes; ; ) {
    // A list is none of what its owner counts.
    const pieces = counted(cargo.pieces(offset), cargo.kind === 'file' ? moved : (): void => moved(0));
    const answer = await transfer.putFile(cargo.digest, offset, cargo.sizeBytes, pieces);
    if (answer.complete) return;
    if (answer.receivedBytes <= offset)
      throw new Fault('FILES_STUCK', 'the scheduler takes none of the bytes that are brought to it');
    offset = answer.receivedBytes;
  }
}

/** What is still to be fetched of a tree whose list is here, in bytes; 0 for a file that is here. */
export async function missingBytes(store: FileStore, digest: string): Promise<number> {
  return (await missingOf(store, digest)).missingBytes;
}

/** Fetches a file, or the list of a tree, into a store; `sizeBytes`: null where only the scheduler knows. */
export async function fetchFile(
  transfer: Transfer,
  store: FileStore,
  digest: string,
  sizeBytes: number | null,
  moved: Moved,
): Promise<void> {
  if (store.use(digest) !== null) return;
  const size = sizeBytes ?? (await transfer.head(digest)).sizeBytes;
  if (size === null) throw new Fault('FILES_MISSING', `the scheduler does not have ${digest}`);
  const offset = store.receivedBytes(digest);
  // One that came whole and was not yet looked at needs no more bytes.
  const pieces = offset < size || size === 0 ? await transfer.getFile(digest, offset) : none();
  const { complete } = await store.put(digest, { offset, sizeBytes: size }, counted(pieces, moved));
  if (!complete) throw new Fault('FILES_AWAY', 'the scheduler broke off in the middle of a file');
}

/** Fetches all files of a tree whose list is in the store. */
export async function fetchTree(
  transfer: Transfer,
  store: FileStore,
  digest: string,
  moved: Moved,
): Promise<void> {
  for (;;) {
    const { missingFiles, runs, receivedBytes } = await missingOf(store, digest);
    if (missingFiles === 0) return;
    let offset = receivedBytes;
    for (const [from, to] of runs) {
      for (let next = from; next < to; ) {
        const end = Math.min(to, next + PUT_FILES_MAX);
        const pieces = counted(await transfer.getTree(digest, next, end, offset), moved);
        const taken = await takeContents(store, digest, next, offset, pieces);
        if (taken.next < end)
          throw new Fault('FILES_AWAY', 'the scheduler broke off in the middle of a tree');
        next = taken.next;
        offset = 0;
      }
    }
  }
}

async function* none(): AsyncGenerator<Uint8Array> {}

async function* counted(pieces: Pieces, moved: Moved): AsyncGenerator<Uint8Array> {
  for await (const piece of pieces) {
    yield piece;
    moved(piece.length);
  }
}

/** Faults that may pass by themselves. */
export function isPassing(error: unknown): boolean {
  return isFault(error, 'FILES_AWAY') || isFault(error, 'FILES_BUSY') || isFault(error, 'FILES_OFFSET');
}

export interface Persistence {
  readonly clock: Clock;
  readonly backoff: Backoff;
  readonly signal: AbortSignal;
  /** Whether to try again after this fault. */
  readonly goesOn: (error: unknown) => boolean;
  /** Told why it waits, and with null that it goes on. */
  readonly waits: (error: Fault | null) => void;
}

/** Repeats work that goes on from where it stopped, until it succeeds, is aborted or meets what does not pass. */
export async function persist<T>(options: Persistence, work: (moved: () => void) => Promise<T>): Promise<T> {
  const { clock, backoff, signal, goesOn, waits } = options;
  let waited = false;
  const moved = (): void => {
    backoff.reset();
    if (waited) waits(null);
    waited = false;
  };
  for (;;) {
    signal.throwIfAborted();
    try {
      return await work(moved);
    } catch (error) {
      signal.throwIfAborted();
      if (!goesOn(error)) throw error;
      if (isFault(error, 'FILES_AWAY')) {
        waits(error);
        waited = true;
      }
      await pause(clock, backoff.next(), signal);
    }
  }
}

function pause(clock: Clock, delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      signal.removeEventListener('abort', done);
      timer.cancel();
      resolve();
    };
    const timer = clock.after(delayMs, done);
    signal.addEventListener('abort', done, { once: true });
  });
}
