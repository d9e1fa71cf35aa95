// A daemon's part of the state directory: made private, proven writable, and held by one of its kind at a time.
import {
  chmodSync,
  closeSync,
  ftruncateSync,
  readFileSync,
  statSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { describeError, errnoOf, Fault } from '../base/fault.ts';
import { makeFolder } from '../base/folder.ts';
import type { Native } from '../native.ts';

/** Whose part it is; faults begin with it. */
export type FolderOwner = 'agent' | 'runner';

/** Makes `<stateDir>/<owner>` (0700) and returns it. Throws <OWNER>_STATE_DIR when it cannot be written to. */
export function prepareStateFolder(stateDir: string, owner: FolderOwner = 'agent'): string {
  const folder = join(stateDir, owner);
  const probe = join(folder, `.probe.${process.pid}`);
  try {
    makeFolder(folder);
    if ((statSync(folder).mode & 0o077) !== 0) chmodSync(folder, 0o700);
    writeFileSync(probe, '', { mode: 0o600 });
    unlinkSync(probe);
  } catch (error) {
    throw new Fault(`${owner.toUpperCase()}_STATE_DIR`, `cannot write to ${folder}: ${reasonOf(error)}`, {
      field: 'stateDir',
      remedy: 'make it writable for this user, or name another folder with --state-dir',
      cause: error,
    });
  }
  return folder;
}

const reasons: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  ENOENT: 'no folder can be made there',
  EPERM: 'operation not permitted',
  EROFS: 'the file system is read-only',
  ENOSPC: 'no space left on the device',
  EDQUOT: 'the disk quota is used up',
  ENOTDIR: 'a part of the path is not a folder',
  EEXIST: 'a file of that name is in the way',
  ELOOP: 'too many symbolic links',
  ENAMETOOLONG: 'the path is too long',
};

function reasonOf(error: unknown): string {
  return reasons[errnoOf(error) ?? ''] ?? describeError(error);
}

/**
 * Takes the lock and writes our pid into it for whoever comes second. Returns how to let go.
 * Throws <OWNER>_LOCKED when another one holds it.
 */
export function lockStateFolder(folder: string, native: Native, owner: FolderOwner = 'agent'): () => void {
  const path = join(folder, 'lock');
  const fd = native.lockFile(path);
  if (fd < 0) {
    throw new Fault(
      `${owner.toUpperCase()}_LOCKED`,
      `another flopd ${owner} (pid ${holderOf(path)}) uses this state directory`,
      {
        field: 'stateDir',
        remedy: 'stop that one, or name another folder with --state-dir',
      },
    );
  }
  ftruncateSync(fd, 0);
  writeSync(fd, `${process.pid}\n`, 0);
  return () => closeSync(fd);
}

function holderOf(path: string): string {
  try {
    const text = readFileSync(path, 'utf8').trim();
    return /^\d{1,10}$/.test(text) ? text : 'unknown';
  } catch {
    return 'unknown';
  }
}
