// From a folder to the list of what is in it (protocol/files.ts): reads every file once, follows no link, leaves no
// descriptor open. Somebody may change the folder meanwhile: then the list says what was read, and nothing that lies
// outside was.
import type { FileHandle } from 'node:fs/promises';
import { describeError, errnoOf, Fault, isFault } from '../base/fault.ts';
import {
  createEntryCheck,
  encodeEntry,
  linkProblem,
  nameProblem,
  TREE_DEPTH_MAX,
  TREE_ENTRIES_MAX,
  TREE_HEAD,
  type TreeEntry,
} from '../protocol/files.ts';
import { type Folder, namesIn, openFileIn, openFolderIn, readLinkIn, statIn } from './beneath.ts';

/** Files that are read at the same time. */
const FILES_AT_ONCE = 8;
/** Paths that are named where links were left out. */
const LEFT_OUT_NAMED = 3;

export interface WalkOptions {
  /** Takes the contents of a file, and says what they were; closes nothing. */
  readonly file: (file: FileHandle, path: string) => Promise<{ digest: string; sizeBytes: number }>;
  /** Takes the next lines of the list. */
  readonly lines: (text: string) => Promise<void>;
  /** Links that lead out of the folder: a fault, or left out and counted. */
  readonly straying: 'refuse' | 'leaveOut';
  /**
   * The one whose files they are. A file of somebody else that has several names may have been linked here by one who
   * cannot read it: it is refused. Null to ask nobody.
   */
  readonly ownerUid: number | null;
  readonly signal?: AbortSignal;
}

export interface WalkResult {
  readonly files: number;
  readonly sizeBytes: number;
  /** Entries that are not in the list, in words, or null. */
  readonly leftOut: string | null;
}

/** Walks the folder. Throws FILES_ENTRY with the path of what cannot be kept, or what the callbacks throw. */
export async function walkTree(root: Folder, options: WalkOptions): Promise<WalkResult> {
  const check = createEntryCheck();
  let entries = 0;
  let files = 0;
  let sizeBytes = 0;
  const strays: string[] = [];
  let strayCount = 0;

  const refused = (path: string, what: string, cause?: unknown): Fault =>
    new Fault('FILES_ENTRY', `${JSON.stringify(path)} ${what}`, { cause });

  async function entryOf(folder: Folder, name: string, path: string): Promise<TreeEntry | null> {
    const found = await statIn(folder, name);
    if (found.isDirectory()) return { kind: 'folder', path };
    if (found.isSymbolicLink()) {
      const target = await readLinkIn(folder, name);
      const problem = linkProblem(path, target);
      if (problem === null) return { kind: 'link', path, target };
      if (options.straying === 'refuse') throw refused(path, `is a link that ${problem}`);
      strayCount += 1;
      if (strays.length < LEFT_OUT_NAMED) strays.push(path);
      return null;
    }
    if (!found.isFile()) throw refused(path, 'is neither a file nor a folder nor a link');
    const file = await openFileIn(folder, name);
    try {
      const { nlink, uid, mode } = await file.stat();
      if (options.ownerUid !== null && nlink > 1 && uid !== options.ownerUid)
        throw refused(path, "is another user's file under a second name");
      const taken = await options.file(file, path);
      return { kind: 'file', path, ...taken, executable: (mode & 0o100) !== 0 };
    } finally {
      await file.close();
    }
  }

  async function safeEntryOf(folder: Folder, name: string, path: string): Promise<TreeEntry | null> {
    const problem = nameProblem(name) ?? (name.includes('\ufffd') ? 'is not UTF-8' : null);
    if (problem !== null) throw refused(path, `has a name that ${problem}`);
    try {
      return await entryOf(folder, name, path);
    } catch (error) {
      if (isFault(error, 'FILES_NOT_REGULAR')) throw refused(path, 'is not a regular file');
      if (errnoOf(error) === null || isFault(error)) throw error;
      throw refused(path, `cannot be read (${describeError(error)})`, error);
    }
  }

  async function walk(folder: Folder, prefix: string, depth: number): Promise<void> {
    if (depth >= TREE_DEPTH_MAX) throw refused(prefix, `lies deeper than ${TREE_DEPTH_MAX} folders`);
    const names = (await namesIn(folder, TREE_ENTRIES_MAX - entries)).sort((a, b) => (a < b ? -1 : 1));
    entries += names.length;
    for (let at = 0; at < names.length; at += FILES_AT_ONCE) {
      options.signal?.throwIfAborted();
      const some = names.slice(at, at + FILES_AT_ONCE);
      const read = await allOf(some.map((name) => safeEntryOf(folder, name, prefix + name)));
      for (const [place, entry] of read.entries()) {
        if (entry === null) continue;
        check.take(entry);
        await options.lines(encodeEntry(entry));
        if (entry.kind === 'file') {
          files += 1;
          sizeBytes += entry.sizeBytes;
        }
        if (entry.kind !== 'folder') continue;
        const inner = await openInner(folder, some[place] ?? '', entry.path);
        await walk(inner, `${entry.path}/`, depth + 1).finally(() => inner.close());
      }
    }
  }

  async function openInner(folder: Folder, name: string, path: string): Promise<FileHandle> {
    try {
      return await openFolderIn(folder, name);
    } catch (error) {
      throw refused(path, `cannot be read (${describeError(error)})`, error);
    }
  }

  await options.lines(TREE_HEAD);
  await walk(root, '', 0);
  const more = strayCount > strays.length ? ' and more' : '';
  const leftOut =
    strayCount === 0
      ? null
      : `${strayCount === 1 ? 'a link' : `${strayCount} links`} out of it left out: ${strays.join(', ')}${more}`;
  return { files, sizeBytes, leftOut };
}

/** Like Promise.all, but waits for all of them also when one fails: they hold descriptors. */
async function allOf<T>(work: readonly Promise<T>[]): Promise<T[]> {
  const results = await Promise.allSettled(work);
  for (const result of results) if (result.status === 'rejected') throw result.reason;
  return results.map((result) => (result as PromiseFulfilledResult<T>).value);
}
