// The journal on a real disk. Appends go through a descriptor opened with O_DSYNC: one hop to the thread pool writes
// and syncs, and a disk that stalls never blocks the event loop.
import { closeSync, constants, openSync, readFileSync, unlinkSync, write, writeSync } from 'node:fs';
import { open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errnoOf } from '../base/fault.ts';
import type { JournalDisk } from './journal.ts';

/** Set aside so that results can still be written when the disk is full. */
const RESERVE_BYTES = 1024 * 1024;
/** Damaged bytes are kept for people up to this much. */
const QUARANTINE_BYTES_MAX = 1024 * 1024;

export function createJournalFile(path: string): JournalDisk {
  const reservePath = `${path}.reserve`;
  const quarantinePath = `${path}.damaged`;
  let fd: number | null = null;
  let sizeBytes = 0;
  makeReserve(reservePath);

  function openForAppend(): number {
    return openSync(
      path,
      constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND | constants.O_DSYNC,
      0o600,
    );
  }

  function writeAt(from: number, bytes: Uint8Array, done: (error: Error | null) => void): void {
    if (fd === null) {
      done(Object.assign(new Error('the journal is closed'), { code: 'EBADF' }));
      return;
    }
    write(fd, bytes, from, bytes.length - from, null, (error, written) => {
      if (error !== null) done(error);
      else if (from + written < bytes.length) writeAt(from + written, bytes, done);
      else done(null);
    });
  }

  return {
    read() {
      try {
        const bytes = readFileSync(path);
        sizeBytes = bytes.length;
        return bytes;
      } catch (error) {
        if (errnoOf(error) !== 'ENOENT') throw error;
        return new Uint8Array();
      }
    },

    quarantine(bytes) {
      try {
        const aside = openSync(quarantinePath, 'a', 0o600);
        try {
          writeSync(aside, bytes.subarray(0, QUARANTINE_BYTES_MAX));
        } finally {
          closeSync(aside);
        }
      } catch {
        // Kept for people only; a disk that refuses it has already been reported with the damage.
      }
    },

    append(bytes) {
      return new Promise((resolve, reject) => {
        try {
          fd ??= openForAppend();
        } catch (error) {
          reject(error);
          return;
        }
        writeAt(0, bytes, (error) => {
          if (error === null) {
            sizeBytes += bytes.length;
            resolve();
            return;
          }
          // What was half written must not be read as a promise after a crash.
          void open(path, 'r+')
            .then(async (file) => {
              await file.truncate(sizeBytes).finally(() => file.close());
            })
            .catch(() => {})
            .then(() => reject(error));
        });
      });
    },

    async replace(bytes) {
      const temporary = `${path}.new`;
      const file = await open(temporary, 'w', 0o600);
      try {
        await file.writeFile(bytes);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(temporary, path);
      const folder = await open(dirname(path), 'r');
      await folder.sync().finally(() => folder.close());
      if (fd !== null) closeSync(fd);
      fd = null;
      sizeBytes = bytes.length;
      makeReserve(reservePath);
    },

    releaseReserve() {
      try {
        unlinkSync(reservePath);
        return true;
      } catch {
        return false;
      }
    },

    async close() {
      if (fd !== null) closeSync(fd);
      fd = null;
    },
  };
}

/** Random bytes would be safer on a disk that compresses; the common ones keep zeros as they are. */
function makeReserve(path: string): void {
  try {
    const fd = openSync(path, 'wx', 0o600);
    try {
      writeSync(fd, Buffer.alloc(RESERVE_BYTES));
    } finally {
      closeSync(fd);
    }
  } catch {
    // It exists, or the disk is full already: the agent works without it.
  }
}
