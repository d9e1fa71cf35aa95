// A job's folder from outside: its stored output by offset, its meter file, and its removal. The job may have put
// anything in place of its files: nothing here follows a link or waits at a pipe.
import { constants, lstatSync, rmdirSync } from 'node:fs';
import { type FileHandle, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf } from '../base/fault.ts';
import type { Native } from '../native.ts';
import { jobFile } from './executor/executor.ts';
import type { OutputStream } from './job.ts';
import { METER_BYTES_MAX, type MeterReading, parseMeter } from './meter.ts';

/** Largest piece that one call of readOutput returns. */
const READ_BYTES_MAX = 1024 * 1024;
const NO_FOLLOW = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** Opens a regular file; null when there is none. Throws the system's error for anything else in its place. */
async function openRegular(path: string): Promise<FileHandle | null> {
  let file: FileHandle;
  try {
    file = await open(path, NO_FOLLOW);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null;
    throw error;
  }
  if ((await file.stat()).isFile()) return file;
  await file.close();
  throw Object.assign(new Error(`${path} is not a regular file`), { code: 'EINVAL' });
}

async function readAt(file: FileHandle, offset: number, limit: number): Promise<Uint8Array> {
  const bytes = Buffer.allocUnsafe(limit);
  let size = 0;
  while (size < limit) {
    const { bytesRead } = await file.read(bytes, size, limit - size, offset + size);
    if (bytesRead === 0) break;
    size += bytesRead;
  }
  return bytes.subarray(0, size);
}

/** Bytes [offset, offset + limit) as far as they are stored; at most 1 MiB at once. */
export async function readStoredOutput(
  folder: string,
  stream: OutputStream,
  offset: number,
  limit: number,
): Promise<Uint8Array> {
  const file = await openRegular(join(folder, jobFile[stream]));
  if (file === null || limit <= 0) {
    await file?.close();
    return new Uint8Array();
  }
  try {
    return await readAt(file, offset, Math.min(limit, READ_BYTES_MAX));
  } finally {
    await file.close();
  }
}

/** Null when the job wrote none; a sentence when it cannot be read. */
export async function readMeter(folder: string): Promise<MeterReading | string | null> {
  const path = join(folder, jobFile.meter);
  if (lstatSync(path, { throwIfNoEntry: false }) === undefined) return null; // the common case, cheaply
  try {
    const file = await openRegular(path);
    if (file === null) return null;
    try {
      const bytes = await readAt(file, 0, METER_BYTES_MAX + 1);
      const truncated = bytes.length > METER_BYTES_MAX;
      return parseMeter(Buffer.from(bytes.subarray(0, METER_BYTES_MAX)).toString('latin1'), truncated);
    } finally {
      await file.close();
    }
  } catch (error) {
    return `the meter file cannot be read (${errnoOf(error) ?? 'EIO'})`;
  }
}

/** The user that an attempt's workspace belongs to; null where it is the agent's own, or there is none. */
export function ownerOf(folder: string): number | null {
  const uid = lstatSync(join(folder, jobFile.workspace), { throwIfNoEntry: false })?.uid;
  return uid === undefined || uid === process.getuid?.() ? null : uid;
}

/**
 * Removes the folder of an attempt, off the event loop: a file system that is busy can hold an rmdir for long. By the
 * addon in one step; without it by Node's walk. Neither follows a link.
 */
export async function removeFolder(folder: string, native: Native | null): Promise<void> {
  if (native !== null) await native.removeTree(folder);
  else await rm(folder, { recursive: true, force: true, maxRetries: 2 });
}

/** Removes the folder of an attempt into which nobody has written anything; false when there is something. */
export function removeIfEmpty(folder: string): boolean {
  try {
    rmdirSync(join(folder, jobFile.workspace));
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') return false;
  }
  try {
    rmdirSync(folder);
    return true;
  } catch {
    return false;
  }
}
