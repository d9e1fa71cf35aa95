// Inputs into a workspace, before anything of the job runs: fetched into the node's cache, as far as they are not there,
// and copied from it, so that no job can change what the next one gets; each copy is hashed on its way, so that a damaged
// cache is found out. May be done again from the start at any time until the mark `staged` stands in the attempt's folder.
import { createHash } from 'node:crypto';
import { existsSync, writeFileSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault, isFault } from '../base/fault.ts';
import { type Folder, makeFolderIn, type Owner, openFolder } from '../files/beneath.ts';
import { fetchFile, fetchTree, missingBytes } from '../files/exchange.ts';
import { writeAll } from '../files/part.ts';
import { placeFile, placeTree } from '../files/place.ts';
import type { FileStore } from '../files/store.ts';
import { piecesOf } from '../files/stream.ts';
import type { Transfer } from '../files/transfer.ts';
import { type FileEntry, readEntries } from '../protocol/files.ts';
import type { JobSpec } from '../protocol/spec.ts';
import { jobFile } from './executor/executor.ts';

type Input = JobSpec['inputs'][number];

/** How often inputs are made anew when the cache turns out to be damaged. */
const DAMAGES_MAX = 3;
const STAGED = 'staged';

export interface StagingParts {
  readonly store: FileStore;
  readonly transfer: Transfer;
  /** Repeats work over broken links; see files/exchange.ts. */
  readonly persist: <T>(work: (moved: () => void) => Promise<T>) => Promise<T>;
  /** Told of bytes fetched so far, and of how many there are to fetch. */
  readonly progress: (fetchedBytes: number, totalBytes: number) => void;
  readonly signal: AbortSignal;
}

/** All inputs of the attempt lie in its workspace. */
export function isStaged(folder: string): boolean {
  return existsSync(join(folder, STAGED));
}

export function markStaged(folder: string): void {
  writeFileSync(join(folder, STAGED), '', { mode: 0o600 });
}

/** Fetches what is missing of the inputs. Throws a fault that names the input. */
export async function fetchInputs(inputs: readonly Input[], parts: StagingParts): Promise<void> {
  const { store, transfer, persist } = parts;
  let fetchedBytes = 0;
  let totalBytes = 0;
  for (const { digest, kind, sizeBytes } of inputs)
    if (store.sizeOf(digest) === null || kind === 'tree') totalBytes += sizeBytes;
  for (const input of inputs) {
    const { digest, kind, sizeBytes } = input;
    await named(input, () =>
      persist(async (moved) => {
        const count = (bytes: number): void => {
          moved();
          fetchedBytes += bytes;
          parts.progress(fetchedBytes, totalBytes);
        };
        const isFile = kind === 'file';
        await fetchFile(transfer, store, digest, isFile ? sizeBytes : null, isFile ? count : moved);
        if (isFile) return;
        const missing = await missingBytes(store, digest);
        totalBytes -= Math.max(0, sizeBytes - missing);
        await store.reserve(missing);
        await fetchTree(transfer, store, digest, count);
      }),
    );
  }
}

/** Copies inputs from the cache into the workspace, which is empty. Throws a fault that names the input. */
export async function placeInputs(
  folder: string,
  inputs: readonly Input[],
  owner: Owner,
  parts: Pick<StagingParts, 'store' | 'signal'>,
): Promise<void> {
  // The workspace lies on the disk of the cache.
  await parts.store.requireDisk(inputs.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0));
  const workspace = await openFolder(join(folder, jobFile.workspace));
  try {
    for (const input of inputs) await named(input, () => placeInput(workspace, input, owner, parts));
  } finally {
    await workspace.close();
  }
}

async function placeInput(
  workspace: Folder,
  { path, kind, digest, sizeBytes, executable }: Input,
  owner: Owner,
  { store, signal }: Pick<StagingParts, 'store' | 'signal'>,
): Promise<void> {
  const steps = path.split('/');
  const name = steps.pop() ?? '';
  const contents = (entry: FileEntry, target: FileHandle) => copyOut(store, entry, target);
  let parent: Folder = workspace;
  try {
    for (const step of steps) {
      const inner = await makeFolderIn(parent, step, owner);
      if (parent !== workspace) await parent.close();
      parent = inner;
    }
    if (kind === 'file') {
      const entry: FileEntry = { kind, path, sizeBytes, digest, executable };
      await placeFile(parent, name, entry, { owner, contents });
      return;
    }
    const root = await makeFolderIn(parent, name, owner);
    const list = await opened(store, digest);
    try {
      await placeTree(root, readEntries(piecesOf(list, 0, (await list.stat()).size)), {
        sizeBytes,
        owner,
        contents,
        signal,
      });
    } finally {
      await list.close();
      await root.close();
    }
  } finally {
    if (parent !== workspace) await parent.close();
  }
}

async function opened(store: FileStore, digest: string): Promise<FileHandle> {
  const file = await store.open(digest);
  if (file === null) throw new Fault('FILES_CACHE_DAMAGED', 'the cache of this node has lost it');
  return file;
}

async function copyOut(
  store: FileStore,
  { digest, sizeBytes }: FileEntry,
  target: FileHandle,
): Promise<void> {
  const source = await opened(store, digest);
  const hash = createHash('sha256');
  let at = 0;
  try {
    for await (const piece of piecesOf(source, 0, sizeBytes)) {
      await writeAll(target, piece, at);
      hash.update(piece);
      at += piece.length;
    }
  } catch (error) {
    if (!isFault(error, 'FILES_SHRANK')) throw error;
  } finally {
    await source.close();
  }
  if (at === sizeBytes && hash.digest('hex') === digest) return;
  await store.discard(digest);
  throw new Fault('FILES_CACHE_DAMAGED', 'the cache of this node was damaged');
}

/** Does it all; after a damage of the cache again, with a workspace made anew by `reset`. */
export async function stageInputs(
  folder: string,
  inputs: readonly Input[],
  owner: Owner,
  parts: StagingParts,
  reset: () => Promise<void>,
): Promise<void> {
  for (let damages = 0; ; damages += 1) {
    await reset();
    await fetchInputs(inputs, parts);
    try {
      await placeInputs(folder, inputs, owner, parts);
      return;
    } catch (error) {
      const cause = error instanceof Error ? error.cause : null;
      if (!isFault(cause, 'FILES_CACHE_DAMAGED') || damages === DAMAGES_MAX) throw error;
    }
  }
}

/** A fault of an input says which. */
async function named(input: Input, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    const words = error instanceof Error ? error.message : String(error);
    throw new Fault('JOB_INPUT', `input ${JSON.stringify(input.path)}: ${words}`, { cause: error });
  }
}
