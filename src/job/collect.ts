// Outputs out of a workspace when the job has ended: read as the agent, through descriptors and never through a link,
// into the node's cache, from which they are brought to the scheduler. What cannot be kept is a problem in words; it
// never fails the result.
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { describeError, errnoOf, isFault } from '../base/fault.ts';
import type { Batch } from '../files/batch.ts';
import { type Folder, openFileIn, openFolder, openFolderIn, statIn } from '../files/beneath.ts';
import type { FileStore } from '../files/store.ts';
import { piecesToEnd } from '../files/stream.ts';
import { walkTree } from '../files/walk.ts';
import type { KeptOutput } from '../protocol/result.ts';
import { jobFile } from './executor/executor.ts';

const PROBLEM_CHARACTERS_MAX = 250;
/** Files from this size on must find room as a whole. */
const RESERVED_BYTES = 16 * 1024 * 1024;

/** Collects one output. Throws only when `signal` is aborted. */
export async function collectOutput(
  folder: string,
  path: string,
  store: FileStore,
  signal: AbortSignal,
): Promise<KeptOutput> {
  try {
    const workspace = await openFolder(join(folder, jobFile.workspace));
    try {
      const { uid } = await workspace.stat();
      return await collectBelow(workspace, path, uid, store, signal);
    } finally {
      await workspace.close();
    }
  } catch (error) {
    signal.throwIfAborted();
    return problemOf(path, error);
  }
}

function problemOf(path: string, error: unknown): KeptOutput {
  const words: Readonly<Record<string, string>> = {
    ENOENT: 'no such file or folder',
    ENOTDIR: 'a part of its path is not a folder',
    ELOOP: 'a part of its path is a link, and links are not followed',
    ENOSPC: "the disk of the node's cache is full",
  };
  const said = words[errnoOf(error) ?? ''] ?? (isFault(error) ? error.message : describeError(error));
  return {
    path,
    kind: null,
    digest: null,
    sizeBytes: null,
    executable: false,
    problem: said.slice(0, PROBLEM_CHARACTERS_MAX),
  };
}

async function collectBelow(
  workspace: Folder,
  path: string,
  ownerUid: number,
  store: FileStore,
  signal: AbortSignal,
): Promise<KeptOutput> {
  const steps = path.split('/');
  const name = steps.pop() ?? '';
  let parent: Folder = workspace;
  try {
    for (const step of steps) {
      const inner = await openFolderIn(parent, step);
      if (parent !== workspace) await parent.close();
      parent = inner;
    }
    const found = await statIn(parent, name);
    if (found.isSymbolicLink()) return problemOf(path, { code: 'ELOOP' });
    return found.isDirectory()
      ? await collectTree(await openFolderIn(parent, name), path, ownerUid, store, signal)
      : await collectFile(await openFileIn(parent, name), path, ownerUid, store, signal);
  } finally {
    if (parent !== workspace) await parent.close();
  }
}

async function collectFile(
  file: FileHandle,
  path: string,
  ownerUid: number,
  store: FileStore,
  signal: AbortSignal,
): Promise<KeptOutput> {
  const batch = store.batch(true);
  try {
    const { nlink, uid, mode } = await file.stat();
    if (nlink > 1 && uid !== ownerUid)
      return problemOf(path, new Error("it is another user's file under a second name"));
    const taken = await copyIn(store, batch, file, signal);
    await batch.flush();
    return { path, kind: 'file', ...taken, executable: (mode & 0o100) !== 0, problem: null };
  } finally {
    await file.close();
    await batch.drop();
  }
}

/** A file may be long that takes no room where it lies: it is refused before it is read. */
async function copyIn(
  store: FileStore,
  batch: Batch,
  file: FileHandle,
  signal: AbortSignal,
): Promise<{ digest: string; sizeBytes: number }> {
  const { size } = await file.stat();
  if (size > RESERVED_BYTES) await store.reserve(size);
  const target = await batch.create();
  try {
    for await (const piece of piecesToEnd(file)) {
      signal.throwIfAborted();
      await target.write(piece);
    }
  } catch (error) {
    await target.drop();
    throw error;
  }
  return target.end(null);
}

async function collectTree(
  root: FileHandle,
  path: string,
  ownerUid: number,
  store: FileStore,
  signal: AbortSignal,
): Promise<KeptOutput> {
  const batch = store.batch(true);
  const list = await batch.create();
  try {
    const { sizeBytes, leftOut } = await walkTree(root, {
      file: (file) => copyIn(store, batch, file, signal),
      lines: (text) => list.write(Buffer.from(text)),
      straying: 'leaveOut',
      ownerUid,
      signal,
    });
    const { digest } = await list.end(null);
    await batch.flush();
    return {
      path,
      kind: 'tree',
      digest,
      sizeBytes,
      executable: false,
      problem: leftOut?.slice(0, PROBLEM_CHARACTERS_MAX) ?? null,
    };
  } catch (error) {
    await list.drop().catch(() => {}); // closed already where it had ended
    throw error;
  } finally {
    await root.close();
    await batch.drop();
  }
}
