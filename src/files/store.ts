// Files by the SHA-256 of their contents, in one folder: the scheduler's store, and each node's cache.
//
//   SHA256        a file: its digest was right and it was on disk before it got this name
//   SHA256.part   one that is coming in (part.ts)
//   new-N         one that is written or collected at present (batch.ts); those of an earlier process are removed
//
// The time of last use is the file's time of change. Over its quota a store removes what nobody refers to, the longest
// unused first; what nobody refers to goes anyway when it was not used for `keepMs`. What was used a short while ago
// stays, so that an upload does not eat its own beginning. The last part of the disk is never taken: other things live
// there as well, the job store above all.
import { randomUUID } from 'node:crypto';
import { constants, statSync, utimesSync } from 'node:fs';
import { type FileHandle, open, rename, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../base/clock.ts';
import { describeError, errnoOf, Fault } from '../base/fault.ts';
import { makeFolder } from '../base/folder.ts';
import type { Log } from '../base/log.ts';
import type { PutAnswer } from '../protocol/file-api.ts';
import { type Batch, createBatch } from './batch.ts';
import { asDiskFault, type HashMemory, openPart, removeFile } from './part.ts';
import { type Root, type SweepResult, sweepFolder } from './sweep.ts';

/** Space is looked after when so much more has been written. */
const RESERVE_STEP_BYTES = 16 * 1024 * 1024;
/** What a store leaves free on its disk: this share, at most so many bytes. */
const FREE_SHARE = 0.05;
const FREE_BYTES_MAX = 1024 * 1024 * 1024;
/** Sweeps for room leave so much of the quota free, so that the next file needs none. */
const SWEEP_TO = 0.9;
/** A file that is used all the time is touched once in so long; less than a sweep spares what was used. */
const TOUCH_MS = 5 * 60_000;
/** Used so short a while ago that it stays in any case: somebody may be at work with it. */
const IN_USE_MS = 10 * 60_000;
/** Sweeps for room that freed nothing are not tried again for so long. */
const FRUITLESS_MS = 5000;
const DIGEST = /^[0-9a-f]{64}$/;

export interface FileStoreOptions {
  readonly folder: string;
  readonly quotaBytes: number;
  /** Unused files that nobody refers to are removed after so long. */
  readonly keepMs: number;
  /** Files that were used so short a while ago stay in any case; 10 minutes where nothing is said. */
  readonly inUseMs?: number;
  /** False for files that can be had again: their digest is looked at when they are used. */
  readonly syncs?: boolean;
  /** What must stay: files, and trees with all that they list. */
  readonly roots: () => Iterable<Root>;
  readonly clock: Clock;
  readonly log: Log;
}

export interface FileStore {
  /** Size of a file that is here, in bytes; null for one that is not. */
  sizeOf(digest: string): number | null;
  /** Opens it for reading, and counts that as a use; null when it is not here. Close it. */
  open(digest: string): Promise<FileHandle | null>;
  /** Counts a use of a file that is here, and tells its size in bytes; null where it is not. */
  use(digest: string): number | null;
  /** Bytes of an upload that was broken off; 0 for none. */
  receivedBytes(digest: string): number;
  /**
   * Takes bytes from `offset` on of a file of `sizeBytes` until the pieces end or break off; what came stays. Throws
   * FILES_BUSY, FILES_OFFSET, FILES_TOO_LONG, FILES_DIGEST (then it begins anew), FILES_FULL, FILES_DISK_FULL.
   */
  put(
    digest: string,
    place: { readonly offset: number; readonly sizeBytes: number },
    pieces: AsyncIterable<Uint8Array>,
  ): Promise<PutAnswer>;
  /** For new files that count together; `syncs`: on disk in any case, also where the store does not see to it. */
  batch(syncs?: boolean): Batch;
  /** There may be so many bytes more: throws FILES_FULL or FILES_DISK_FULL. */
  reserve(bytes: number): Promise<void>;
  /** The disk has room for so many bytes beside the store: throws FILES_DISK_FULL. */
  requireDisk(bytes: number): Promise<void>;
  /** Removes a file whose contents turned out to be wrong. */
  discard(digest: string): Promise<void>;
  /** Removes what may go: what was not used for `keepMs`. */
  sweep(): Promise<void>;
  usedBytes(): number;
  readonly quotaBytes: number;
}

/** Opens or makes the folder; its size is found out in the background. Throws the system's error. */
export function openFileStore(options: FileStoreOptions): FileStore {
  const { folder, quotaBytes, clock, log } = options;
  makeFolder(folder);
  const memory: HashMemory = new Map();
  const busy = new Set<string>();
  /** What batches have brought, until something may refer to it: looked at by sweeps that began before. */
  const holds = new Set<Set<string>>();
  const letGo = new Set<Set<string>>();
  let usedBytes = 0;
  /** Since the sweep that is under way began. */
  let addedBytes = 0;
  const ownPrefix = `new-${randomUUID().slice(0, 8)}-`;
  let names = 0;
  let sweeping: Promise<SweepResult> | null = null;
  let fruitlessAtMs = Number.NEGATIVE_INFINITY;
  let folderSync: Promise<void> | null = null;

  const pathOf = (digest: string): string => {
    if (!DIGEST.test(digest)) throw new Fault('FILES_NAME', 'not a SHA-256 in lower-case hexadecimal');
    return join(folder, digest);
  };
  const partOf = (digest: string): string => `${pathOf(digest)}.part`;
  const sizeAt = (path: string): number | null => {
    const found = statSync(path, { throwIfNoEntry: false });
    return found?.isFile() ? found.size : null;
  };

  /** One at a time; `targetBytes`: remove until so little is left, or only what is old. */
  function runSweep(targetBytes: number | null): Promise<SweepResult> {
    if (sweeping === null) {
      addedBytes = 0;
      for (const held of letGo) holds.delete(held);
      letGo.clear();
    }
    sweeping ??= sweepFolder({
      folder,
      roots: options.roots(),
      nowMs: clock.wallMs(),
      keepMs: options.keepMs,
      targetBytes,
      inUseMs: options.inUseMs ?? IN_USE_MS,
      isBusy: (name) => busy.has(name) || name.startsWith(ownPrefix) || isHeld(name),
    })
      .then((result) => {
        // What came meanwhile may be counted twice until the next sweep, never not at all.
        usedBytes = result.usedBytes + addedBytes;
        if (result.removed > 0)
          log.info(
            { removed: result.removed, freedBytes: result.freedBytes },
            'files were removed from the store',
          );
        return result;
      })
      .finally(() => {
        sweeping = null;
      });
    return sweeping;
  }

  function isHeld(digest: string): boolean {
    for (const held of holds) if (held.has(digest)) return true;
    return false;
  }

  async function sweepFor(bytes: number): Promise<void> {
    await sweeping?.catch(() => {});
    if (clock.monotonicMs() - fruitlessAtMs < FRUITLESS_MS) return;
    const { freedBytes } = await runSweep(Math.max(0, Math.min(quotaBytes * SWEEP_TO, quotaBytes - bytes)));
    if (freedBytes === 0) fruitlessAtMs = clock.monotonicMs();
  }

  async function freeBytes(): Promise<number> {
    const { bavail, blocks, bsize } = await statfs(folder);
    return bavail * bsize - Math.min(FREE_BYTES_MAX, blocks * bsize * FREE_SHARE);
  }

  async function reserve(bytes: number): Promise<void> {
    if (bytes > quotaBytes)
      throw new Fault('FILES_TOO_LARGE', `${bytes} bytes are more than the whole quota of ${quotaBytes}`);
    if (usedBytes + bytes > quotaBytes) await sweepFor(bytes);
    if (usedBytes + bytes > quotaBytes)
      throw new Fault(
        'FILES_FULL',
        `the store of files is full: ${usedBytes} of ${quotaBytes} bytes are in use, ${bytes} more are asked for`,
        { remedy: 'raise its quota, or wait until jobs that need the files in it have ended' },
      );
    await requireDisk(bytes);
  }

  async function requireDisk(bytes: number): Promise<void> {
    if ((await freeBytes()) >= bytes) return;
    await sweepFor(usedBytes);
    if ((await freeBytes()) < bytes)
      throw new Fault(
        'FILES_DISK_FULL',
        `the disk that holds ${folder} has no room for ${bytes} bytes more`,
        {
          remedy: 'free space on that disk',
        },
      );
  }

  function added(bytes: number): void {
    usedBytes += bytes;
    addedBytes += bytes;
  }

  function syncFolder(): Promise<void> {
    // A sync that began before may miss what was renamed since.
    const next = (folderSync ?? Promise.resolve()).then(async () => {
      const handle = await open(folder, 'r');
      await handle.sync().finally(() => handle.close());
    });
    folderSync = next.catch(() => {});
    return next;
  }

  async function put(
    digest: string,
    { offset, sizeBytes }: { readonly offset: number; readonly sizeBytes: number },
    pieces: AsyncIterable<Uint8Array>,
  ): Promise<PutAnswer> {
    if (sizeAt(pathOf(digest)) !== null) return { receivedBytes: sizeBytes, complete: true };
    if (busy.has(`${digest}.part`))
      throw new Fault('FILES_BUSY', 'somebody else brings this file at present');
    busy.add(`${digest}.part`);
    try {
      const part = await openPart(partOf(digest), digest, memory);
      try {
        return await takePieces(digest, part, offset, sizeBytes, pieces);
      } finally {
        await part.close();
      }
    } catch (error) {
      throw asDiskFault(error);
    } finally {
      busy.delete(`${digest}.part`);
    }
  }

  async function takePieces(
    digest: string,
    part: Awaited<ReturnType<typeof openPart>>,
    offset: number,
    sizeBytes: number,
    pieces: AsyncIterable<Uint8Array>,
  ): Promise<PutAnswer> {
    if (offset !== part.receivedBytes)
      throw new Fault('FILES_OFFSET', `the store has ${part.receivedBytes} bytes of it, not ${offset}`);
    const startBytes = part.receivedBytes;
    let reservedBytes = startBytes;
    // All of it must fit, not only what this request brings.
    if (startBytes < sizeBytes) await reserve(sizeBytes - startBytes);
    for await (const piece of pieces) {
      if (part.receivedBytes + piece.length > sizeBytes) {
        await discardPart(digest);
        throw new Fault('FILES_TOO_LONG', `more came than the ${sizeBytes} bytes that were announced`);
      }
      if (part.receivedBytes + piece.length > reservedBytes) {
        reservedBytes = part.receivedBytes + RESERVE_STEP_BYTES;
        await reserve(piece.length);
      }
      await part.write(piece);
      // As it comes: whoever never ends an upload takes of the quota as well.
      added(piece.length);
    }
    if (part.receivedBytes < sizeBytes) return { receivedBytes: part.receivedBytes, complete: false };
    const isRight = await part.isRight(options.syncs !== false).catch(async (error: unknown) => {
      // A failed sync is final for that file: a second one would be believed for nothing.
      await discardPart(digest);
      throw error;
    });
    if (!isRight) {
      await discardPart(digest);
      throw new Fault('FILES_DIGEST', 'what came has another SHA-256');
    }
    await rename(partOf(digest), pathOf(digest));
    if (options.syncs !== false) await syncFolder();
    return { receivedBytes: sizeBytes, complete: true };
  }

  async function discardPart(digest: string): Promise<void> {
    usedBytes -= sizeAt(partOf(digest)) ?? 0;
    await removeFile(partOf(digest));
    memory.delete(digest);
  }

  function use(digest: string): number | null {
    const path = pathOf(digest);
    const found = statSync(path, { throwIfNoEntry: false });
    if (found === undefined || !found.isFile()) return null;
    const nowMs = clock.wallMs();
    try {
      if (Math.abs(nowMs - found.mtimeMs) > TOUCH_MS) utimesSync(path, nowMs / 1000, nowMs / 1000);
    } catch (error) {
      log.debug({ cause: describeError(error) }, 'a use was not noted');
    }
    return found.size;
  }

  void runSweep(null).catch((error: unknown) =>
    log.warn({ cause: describeError(error), folder }, 'the store of files could not be looked through'),
  );

  return {
    quotaBytes,
    sizeOf: (digest) => sizeAt(pathOf(digest)),
    use,
    receivedBytes: (digest) => sizeAt(partOf(digest)) ?? 0,
    put,
    reserve,
    requireDisk,
    usedBytes: () => usedBytes,
    async open(digest) {
      try {
        const file = await open(pathOf(digest), constants.O_RDONLY | constants.O_NOFOLLOW);
        use(digest);
        return file;
      } catch (error) {
        if (errnoOf(error) === 'ENOENT') return null;
        throw error;
      }
    },
    batch(syncs = false) {
      const held = new Set<string>();
      holds.add(held);
      return createBatch({
        hold: (digest) => void held.add(digest),
        letGo: () => void letGo.add(held),
        folder,
        nextName() {
          names += 1;
          return `${ownPrefix}${names}`;
        },
        has: (digest) => sizeAt(pathOf(digest)) !== null,
        reserve,
        added,
        syncs: syncs || options.syncs !== false,
        syncFolder,
      });
    },
    async discard(digest) {
      usedBytes -= sizeAt(pathOf(digest)) ?? 0;
      await removeFile(pathOf(digest));
      await discardPart(digest);
    },
    async sweep() {
      await runSweep(null);
    },
  };
}
