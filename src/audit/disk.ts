// The folder of a chain on a real disk: appends, syncs and replaces off the event loop. A seam for tests of disks that
// fail. One call at a time.
import { constants } from 'node:fs';
import { chmod, type FileHandle, open, rename, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { makeFolder } from '../base/folder.ts';
import { HEAD_FILE } from './head.ts';
import { segmentName } from './segment.ts';

export interface AuditDisk {
  /** Opens a segment for appending, makes it where it is missing, and cuts it to this length. */
  open(number: number, bytes: number): Promise<void>;
  /** All of it, at the end of the open segment. */
  append(bytes: Uint8Array): Promise<void>;
  sync(): Promise<void>;
  /** Whole or not at all, and synced. */
  writeHead(text: string): Promise<void>;
  remove(number: number): Promise<void>;
  /** Length and time of the last change of a segment. */
  measure(number: number): Promise<{ readonly bytes: number; readonly changedMs: number }>;
  close(): Promise<void>;
}

export function createAuditDisk(folder: string): AuditDisk {
  let file: FileHandle | null = null;

  async function syncFolder(): Promise<void> {
    const handle = await open(folder, 'r');
    await handle.sync().finally(() => handle.close());
  }

  async function close(): Promise<void> {
    const open = file;
    file = null;
    await open?.close();
  }

  return {
    async open(number, bytes) {
      await close();
      makeFolder(folder);
      const { O_WRONLY, O_CREAT, O_APPEND, O_NOFOLLOW } = constants;
      const path = join(folder, segmentName(number));
      file = await open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0o600);
      const { size, mode } = await file.stat();
      if ((mode & 0o077) !== 0) await chmod(path, 0o600);
      if (size < bytes) throw new Error(`${path} is shorter than it was`);
      if (size > bytes) await file.truncate(bytes);
      if (bytes === 0) await syncFolder();
    },
    async append(bytes) {
      for (let at = 0; at < bytes.length; ) {
        if (file === null) throw new Error('no segment is open');
        at += (await file.write(bytes, at, bytes.length - at, null)).bytesWritten;
      }
    },
    async sync() {
      await file?.datasync();
    },
    async writeHead(text) {
      const temporary = join(folder, `.${HEAD_FILE}.tmp`);
      const handle = await open(temporary, 'w', 0o600);
      try {
        await handle.writeFile(text);
        await handle.datasync();
      } finally {
        await handle.close();
      }
      await rename(temporary, join(folder, HEAD_FILE));
      await syncFolder();
    },
    remove: (number) => unlink(join(folder, segmentName(number))),
    async measure(number) {
      const { size, mtimeMs } = await stat(join(folder, segmentName(number)));
      return { bytes: size, changedMs: mtimeMs };
    },
    close,
  };
}
