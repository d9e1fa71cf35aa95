// New files of a store, written one after the other and made to count together: many small files share the wait for
// the disk, since their syncs run at the same time and the folder is synced once.
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '../base/fault.ts';
import { asDiskFault, removeFile, writeAll } from './part.ts';

const FLUSH_FILES = 128;
const FLUSH_BYTES = 32 * 1024 * 1024;
const { O_CREAT, O_EXCL, O_WRONLY } = constants;

export interface NewFile {
  write(bytes: Uint8Array): Promise<void>;
  /** All was written. `digest`: what it must be, or null to be told. Throws FILES_DIGEST, and the file is gone. */
  end(digest: string | null): Promise<{ readonly digest: string; readonly sizeBytes: number }>;
  /** Forgets it. */
  drop(): Promise<void>;
}

export interface Batch {
  create(): Promise<NewFile>;
  /** Everything that ended counts and is on disk when this resolves. */
  flush(): Promise<void>;
  /** Forgets what was not flushed, and lets go of the rest: from now on only what refers to it keeps it. */
  drop(): Promise<void>;
}

export interface BatchParts {
  readonly folder: string;
  /** Number for the name of a temporary file. */
  readonly nextName: () => string;
  readonly has: (digest: string) => boolean;
  /** There is room for so many bytes more; throws FILES_FULL or FILES_DISK_FULL. */
  readonly reserve: (bytes: number) => Promise<void>;
  readonly added: (bytes: number) => void;
  /** This digest must stay until `letGo`. */
  readonly hold: (digest: string) => void;
  readonly letGo: () => void;
  readonly syncs: boolean;
  readonly syncFolder: () => Promise<void>;
}

interface Ended {
  readonly path: string;
  readonly file: FileHandle;
  readonly digest: string;
  readonly sizeBytes: number;
}

export function createBatch(parts: BatchParts): Batch {
  let ended: Ended[] = [];
  let endedBytes = 0;
  /** Written by this batch and not counted by the store yet. */
  let uncountedBytes = 0;

  async function flush(): Promise<void> {
    const taken = ended;
    ended = [];
    endedBytes = 0;
    if (taken.length === 0) return;
    try {
      if (parts.syncs) await Promise.all(taken.map(({ file }) => file.sync()));
    } catch (error) {
      // A failed sync is final for that file.
      await Promise.all(taken.map(({ path }) => removeFile(path)));
      throw error;
    } finally {
      await Promise.all(taken.map(({ file }) => file.close()));
    }
    for (const { path, digest, sizeBytes } of taken) {
      const isNew = !parts.has(digest);
      await rename(path, join(parts.folder, digest));
      uncountedBytes -= sizeBytes;
      if (isNew) parts.added(sizeBytes);
    }
    if (parts.syncs) await parts.syncFolder();
  }

  return {
    flush,
    async create() {
      const path = join(parts.folder, parts.nextName());
      const file = await open(path, O_WRONLY | O_CREAT | O_EXCL, 0o600);
      const hash = createHash('sha256');
      let sizeBytes = 0;
      let reservedBytes = 0;
      async function drop(): Promise<void> {
        uncountedBytes -= sizeBytes;
        sizeBytes = 0;
        await file.close();
        await removeFile(path);
      }
      return {
        async write(bytes) {
          if (sizeBytes + bytes.length > reservedBytes) {
            reservedBytes = sizeBytes + bytes.length + FLUSH_BYTES / 2;
            await parts.reserve(uncountedBytes + bytes.length);
          }
          await writeAll(file, bytes, sizeBytes).catch((error: unknown) => {
            throw asDiskFault(error);
          });
          hash.update(bytes);
          sizeBytes += bytes.length;
          uncountedBytes += bytes.length;
        },
        async end(wanted) {
          const digest = hash.digest('hex');
          if (wanted !== null && digest !== wanted) {
            await drop();
            throw new Fault('FILES_DIGEST', 'the contents of a file are not those of its SHA-256');
          }
          parts.hold(digest);
          ended.push({ path, file, digest, sizeBytes });
          endedBytes += sizeBytes;
          if (ended.length >= FLUSH_FILES || endedBytes >= FLUSH_BYTES) await flush();
          return { digest, sizeBytes };
        },
        drop,
      };
    },
    async drop() {
      parts.letGo();
      const taken = ended;
      ended = [];
      for (const { file, path } of taken) {
        await file.close();
        await removeFile(path);
      }
    },
  };
}
