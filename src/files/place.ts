// From a list to files: makes what it says below an open folder, through descriptors, following nothing that somebody
// may have put there. The parser of the list has seen to its names, its order and its links (protocol/files.ts).
import type { FileHandle } from 'node:fs/promises';
import { describeError, Fault, isFault } from '../base/fault.ts';
import type { FileEntry, TreeEntry } from '../protocol/files.ts';
import { createFileIn, type Folder, finishFile, linkIn, makeFolderIn, type Owner } from './beneath.ts';

export interface PlaceOptions {
  /** What all its files have together, in bytes; more is refused before it is written. */
  readonly sizeBytes: number;
  readonly owner: Owner;
  /** Writes the contents of a file, and sees to it that they are those of its digest. */
  readonly contents: (entry: FileEntry, target: FileHandle, place: number) => Promise<void>;
  readonly signal?: AbortSignal;
}

/** Makes all entries below `root`, which nobody else changes. Throws FILES_PLACE with the path of what failed. */
export async function placeTree(
  root: Folder,
  lists: AsyncIterable<readonly TreeEntry[]>,
  options: PlaceOptions,
): Promise<void> {
  /** Folders from the root to the present one, each with its path and a slash. */
  const open: { readonly prefix: string; readonly folder: Folder }[] = [{ prefix: '', folder: root }];
  let place = 0;
  let placedBytes = 0;

  async function folderFor(path: string): Promise<Folder> {
    for (;;) {
      const top = open.at(-1);
      if (top === undefined) throw new Error('the root holds everything');
      if (path.startsWith(top.prefix)) return top.folder;
      open.pop();
      await top.folder.close();
    }
  }

  async function make(entry: TreeEntry): Promise<void> {
    const folder = await folderFor(entry.path);
    const name = entry.path.slice(entry.path.lastIndexOf('/') + 1);
    switch (entry.kind) {
      case 'folder':
        open.push({ prefix: `${entry.path}/`, folder: await makeFolderIn(folder, name, options.owner) });
        return;
      case 'link':
        await linkIn(folder, name, entry.target, options.owner);
        return;
      case 'file':
        placedBytes += entry.sizeBytes;
        if (placedBytes > options.sizeBytes)
          throw new Fault(
            'FILES_PLACE',
            `its files have more than the ${options.sizeBytes} bytes that were announced`,
          );
        await placeFile(folder, name, entry, options, place);
        place += 1;
    }
  }

  try {
    for await (const entries of lists) {
      for (const entry of entries) {
        options.signal?.throwIfAborted();
        try {
          await make(entry);
        } catch (error) {
          if (isFault(error) || options.signal?.aborted === true) throw error;
          const words = `${JSON.stringify(entry.path)} cannot be made (${describeError(error)})`;
          throw new Fault('FILES_PLACE', words, { cause: error });
        }
      }
    }
  } finally {
    for (const { prefix, folder } of open) if (prefix !== '') await folder.close();
  }
}

/** One file: made, filled, and given its mode and owner. */
export async function placeFile(
  folder: Folder,
  name: string,
  entry: FileEntry,
  { owner, contents }: Pick<PlaceOptions, 'owner' | 'contents'>,
  place = 0,
): Promise<void> {
  const file = await createFileIn(folder, name);
  try {
    await contents(entry, file, place);
    await finishFile(file, entry.executable, owner);
  } finally {
    await file.close();
  }
}
