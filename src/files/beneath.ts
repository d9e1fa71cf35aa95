// Files below an open folder, reached through its descriptor and one name at a time, so that nothing that somebody puts
// or exchanges there leads anywhere else. Linux names what lies in an open folder `/proc/self/fd/N/NAME`: the kernel
// goes from N itself, and O_NOFOLLOW speaks of NAME, as openat(2) would. A NAME is a single one: see nameProblem.
import { constants, type Stats } from 'node:fs';
import { type FileHandle, lchown, lstat, mkdir, open, opendir, readlink, symlink } from 'node:fs/promises';
import { errnoOf, Fault } from '../base/fault.ts';
import { nameProblem } from '../protocol/files.ts';

const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants;

/** An open folder; close it. */
export type Folder = Pick<FileHandle, 'fd' | 'close' | 'stat' | 'sync' | 'chown'>;

/** Who shall own what is made; null for whoever runs this. */
export type Owner = { readonly uid: number; readonly gid: number } | null;

/** Opens a folder by its path, of which the last step is no link. Throws the system's error. */
export function openFolder(path: string): Promise<FileHandle> {
  return open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

/** The path of a name in an open folder, for calls that follow no link at its end. */
export function within(folder: Pick<Folder, 'fd'>, name: string): string {
  if (nameProblem(name) !== null) throw new Error('not a single name');
  return `/proc/self/fd/${folder.fd}/${name}`;
}

/** A folder in it, no link. Throws the system's error. */
export function openFolderIn(folder: Folder, name: string): Promise<FileHandle> {
  return open(within(folder, name), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

/** What lies there itself, also where it is a link. */
export function statIn(folder: Folder, name: string): Promise<Stats> {
  return lstat(within(folder, name));
}

export function readLinkIn(folder: Folder, name: string): Promise<string> {
  return readlink(within(folder, name));
}

/** A regular file that lies there; never a link, and no pipe is waited for. Throws FILES_NOT_REGULAR or the system's error. */
export async function openFileIn(folder: Folder, name: string): Promise<FileHandle> {
  const file = await open(within(folder, name), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if ((await file.stat()).isFile()) return file;
  await file.close();
  throw new Fault('FILES_NOT_REGULAR', 'it is not a regular file');
}

/** A new file for writing; nothing may lie there. Mode and owner are set once it is written (`finishFile`). */
export function createFileIn(folder: Folder, name: string): Promise<FileHandle> {
  return open(within(folder, name), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
}

export async function finishFile(file: FileHandle, executable: boolean, owner: Owner): Promise<void> {
  await file.chmod(executable ? 0o755 : 0o644);
  if (owner !== null) await file.chown(owner.uid, owner.gid);
}

/** Makes the folder, or takes the one that lies there, and opens it. */
export async function makeFolderIn(folder: Folder, name: string, owner: Owner): Promise<FileHandle> {
  let isNew = true;
  await mkdir(within(folder, name), 0o755).catch((error: unknown) => {
    if (errnoOf(error) !== 'EEXIST') throw error;
    isNew = false;
  });
  const made = await openFolderIn(folder, name);
  if (isNew && owner !== null) await made.chown(owner.uid, owner.gid);
  return made;
}

export async function linkIn(folder: Folder, name: string, target: string, owner: Owner): Promise<void> {
  await symlink(target, within(folder, name));
  if (owner !== null) await lchown(within(folder, name), owner.uid, owner.gid);
}

/** Names in the folder. Throws FILES_TOO_MANY. */
export async function namesIn(folder: Folder, limit: number): Promise<string[]> {
  const names: string[] = [];
  // Names that are not UTF-8 come out with U+FFFD, and what they name is then not found: told by the caller.
  for await (const entry of await opendir(`/proc/self/fd/${folder.fd}`, { bufferSize: 256 })) {
    names.push(entry.name);
    if (names.length > limit) throw new Fault('FILES_TOO_MANY', `it holds more than ${limit} files`);
  }
  return names;
}
