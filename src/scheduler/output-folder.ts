// The folder of stored output as files: what lies in it, how a file is made there, and the notes in the place of
// what was removed.
//
//   <jobId>.<epoch>.<stream>          the bytes (output.ts)
//   <jobId>.<epoch>.<stream>.times    when they came (output-times.ts)
//   <jobId>.<epoch>.removed           why they are not here any more, in words
import { constants, readFileSync, statSync } from 'node:fs';
import { type FileHandle, open, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isNoSpace } from './queue/store-writer.ts';

export interface StoredAttempt {
  readonly jobId: string;
  readonly epoch: number;
  readonly bytes: number;
}

const STREAM_FILE = /^(job-[0-9a-z]{1,32})\.([1-9]\d{0,14})\.(?:stdout|stderr)(?:\.times)?$/;
const NOTE_FILE = /^(job-[0-9a-z]{1,32})\.([1-9]\d{0,14})\.removed$/;
/** Files whose sizes are asked for at the same time. */
const STATS_AT_ONCE = 16;
const REASON_CHARACTERS_MAX = 256;

/** Opens for reading and writing; creates the file, and makes its name durable, when it is to be written. */
export async function openStreamFile(path: string, create: boolean): Promise<FileHandle> {
  const flags = constants.O_RDWR | constants.O_NOFOLLOW | (create ? constants.O_CREAT : 0);
  const handle = await open(path, flags, 0o600);
  if (create) {
    try {
      const folderHandle = await open(dirname(path), 'r');
      await folderHandle.datasync().finally(() => folderHandle.close());
    } catch (error) {
      await handle.close();
      throw error;
    }
  }
  return handle;
}

/** Every attempt of which something is stored, with the size of all its files. */
export async function listStored(folder: string): Promise<readonly StoredAttempt[]> {
  const found = new Map<string, StoredAttempt>();
  const names = await readdir(folder);
  for (let at = 0; at < names.length; at += STATS_AT_ONCE) {
    const some = names.slice(at, at + STATS_AT_ONCE).map(async (name) => {
      const match = STREAM_FILE.exec(name);
      if (match === null) return;
      const size = (await stat(join(folder, name)).catch(() => null))?.size ?? 0;
      const [, jobId = '', epoch = ''] = match;
      const key = `${jobId}.${epoch}`;
      found.set(key, { jobId, epoch: Number(epoch), bytes: (found.get(key)?.bytes ?? 0) + size });
    });
    await Promise.all(some);
  }
  return [...found.values()];
}

/** Every attempt in whose place there is a note. */
export async function listNotes(folder: string): Promise<readonly Pick<StoredAttempt, 'jobId' | 'epoch'>[]> {
  const names = await readdir(folder);
  return names.flatMap((name) => {
    const [, jobId, epoch] = NOTE_FILE.exec(name) ?? [];
    return jobId === undefined ? [] : [{ jobId, epoch: Number(epoch) }];
  });
}

/** Why the output of an attempt (`<jobId>.<epoch>`) was removed, or null where no note says so. */
export function readRemoval(folder: string, attempt: string): string | null {
  const path = join(folder, `${attempt}.removed`);
  try {
    // Asked for every new job, of a file that is not there: an exception for each would be dear.
    if (statSync(path, { throwIfNoEntry: false }) === undefined) return null;
    return readFileSync(path, 'utf8') || 'removed';
  } catch {
    return 'removed';
  }
}

/**
 * Leaves the note. Before the files go: a crash between them leaves output that the next look finds again. False where the
 * disk is full: then there is none, or an empty one, which is one too.
 */
export async function noteRemoval(folder: string, attempt: string, why: string): Promise<boolean> {
  const path = join(folder, `${attempt}.removed`);
  return writeFile(path, why.slice(0, REASON_CHARACTERS_MAX), { mode: 0o600 }).then(
    () => true,
    (error: unknown) => {
      if (!isNoSpace(error)) throw error;
      return false;
    },
  );
}

export async function dropNote(folder: string, attempt: string): Promise<void> {
  await rm(join(folder, `${attempt}.removed`), { force: true });
}

/** Removes a stream's file and its index. */
export async function removeStream(path: string): Promise<void> {
  await rm(path, { force: true });
  await rm(`${path}.times`, { force: true });
}
