// A file of a store while it comes in: `SHA256.part`, only ever appended to, hashed as it grows. What came stays when
// the sender breaks off, and the next goes on behind it; after a restart it is hashed again from the disk.
import { createHash, type Hash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open, unlink } from 'node:fs/promises';
import { errnoOf, Fault } from '../base/fault.ts';

const HASH_PIECE_BYTES = 256 * 1024;
const { O_CREAT, O_NOFOLLOW, O_RDWR } = constants;

export interface Part {
  readonly receivedBytes: number;
  write(bytes: Uint8Array): Promise<void>;
  /** True when these are the bytes of the digest; `syncs`: and on disk. */
  isRight(syncs: boolean): Promise<boolean>;
  /** Closes the file; what came stays. */
  close(): Promise<void>;
}

/** Hash states of parts that are closed, so that going on costs no second reading; the oldest are forgotten first. */
export type HashMemory = Map<string, { readonly hash: Hash; readonly bytes: number }>;
const REMEMBERED_MAX = 256;

/** Opens the part of a digest. Throws the system's error. */
export async function openPart(path: string, digest: string, memory: HashMemory): Promise<Part> {
  const file = await open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0o600);
  try {
    const { size } = await file.stat();
    const known = memory.get(digest);
    memory.delete(digest);
    const hash = known?.bytes === size ? known.hash : await hashStart(file, size);
    return partOf(file, hash, size, digest, memory);
  } catch (error) {
    await file.close();
    throw error;
  }
}

function partOf(file: FileHandle, hash: Hash, start: number, digest: string, memory: HashMemory): Part {
  let receivedBytes = start;
  let isWhole = true;
  return {
    get receivedBytes() {
      return receivedBytes;
    },
    async write(bytes) {
      isWhole = false;
      await writeAll(file, bytes, receivedBytes);
      hash.update(bytes);
      receivedBytes += bytes.length;
      isWhole = true;
    },
    async isRight(syncs) {
      if (syncs) await file.sync();
      return hash.copy().digest('hex') === digest;
    },
    async close() {
      await file.close();
      if (isWhole) memory.set(digest, { hash, bytes: receivedBytes });
      const [oldest] = memory.keys();
      if (memory.size > REMEMBERED_MAX && oldest !== undefined) memory.delete(oldest);
    },
  };
}

async function hashStart(file: FileHandle, size: number): Promise<Hash> {
  const hash = createHash('sha256');
  const buffer = Buffer.allocUnsafe(Math.min(HASH_PIECE_BYTES, Math.max(1, size)));
  for (let at = 0; at < size; ) {
    const { bytesRead } = await file.read(buffer, 0, Math.min(buffer.length, size - at), at);
    if (bytesRead === 0) throw new Fault('FILES_SHRANK', 'a file became shorter while it was read');
    hash.update(buffer.subarray(0, bytesRead));
    at += bytesRead;
  }
  return hash;
}

/** Writes all of it at the place; a short write is gone on with. */
export async function writeAll(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, at, bytes.length - at, position + at);
    at += bytesWritten;
  }
}

/** What the system says of a full disk, as a fault of the store; anything else as it is. */
export function asDiskFault(error: unknown): unknown {
  const errno = errnoOf(error);
  if (errno !== 'ENOSPC' && errno !== 'EDQUOT') return error;
  return new Fault('FILES_DISK_FULL', 'the disk of the store of files is full', { cause: error });
}

/** Removes a file, also one that is gone already. */
export async function removeFile(path: string): Promise<void> {
  await unlink(path).catch((error: unknown) => {
    if (errnoOf(error) !== 'ENOENT') throw error;
  });
}
