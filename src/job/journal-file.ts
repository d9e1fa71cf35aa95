// The journal on a real disk. Records overwrite zeros that were written and synced before, through a descriptor
// opened with O_DSYNC: the file's metadata does not change, so a sync writes these bytes and not everything that
// other jobs' folders have changed meanwhile; and one hop to the thread pool does both, so that a disk that stalls
// never blocks the event loop.
import { closeSync, constants, openSync, readFileSync, unlinkSync, write, writeSync } from 'node:fs';
import { open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errnoOf } from '../base/fault.ts';
import type { JournalDisk } from './journal.ts';
import { writtenBytes } from './journal-format.ts';

/** Space that is prepared at once for records to come. */
const PREPARE_BYTES = 1024 * 1024;
/** Set aside so that results can still be written when the disk is full. */
const RESERVE_BYTES = 2 * PREPARE_BYTES;
/** Damaged bytes are kept for people up to this much. */
const QUARANTINE_BYTES_MAX = 1024 * 1024;

export function createJournalFile(path: string): JournalDisk {
  const reservePath = `${path}.reserve`;
  const quarantinePath = `${path}.damaged`;
  let fd: number | null = null;
  /** Where the next record goes, and how far the file is prepared. */
  let at = 0;
  let preparedBytes = 0;
  makeReserve(reservePath);

  function put(bytes: Uint8Array, position: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const step = (from: number): void => {
        if (fd === null) {
          reject(Object.assign(new Error('the journal is closed'), { code: 'EBADF' }));
          return;
        }
        write(fd, bytes, from, bytes.length - from, position + from, (error, written) => {
          if (error !== null) reject(error);
          else if (from + written < bytes.length) step(from + written);
          else resolve();
        });
      };
      step(0);
    });
  }

  return {
    read() {
      try {
        const bytes = readFileSync(path);
        at = writtenBytes(bytes);
        preparedBytes = bytes.length;
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

    async append(bytes) {
      fd ??= openSync(path, constants.O_WRONLY | constants.O_CREAT | constants.O_DSYNC, 0o600);
      if (at + bytes.length > preparedBytes) {
        const zeros = Buffer.alloc(bytes.length + PREPARE_BYTES);
        await put(zeros, at);
        preparedBytes = at + zeros.length;
      }
      try {
        await put(bytes, at);
      } catch (error) {
        // What was half written must not be read as a promise after a crash.
        await put(Buffer.alloc(bytes.length), at).catch(() => {});
        throw error;
      }
      at += bytes.length;
    },

    async replace(bytes) {
      const temporary = `${path}.new`;
      const file = await open(temporary, 'w', 0o600);
      try {
        await file.writeFile(bytes);
        await file.writeFile(Buffer.alloc(PREPARE_BYTES));
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(temporary, path);
      const folder = await open(dirname(path), 'r');
      await folder.sync().finally(() => folder.close());
      if (fd !== null) closeSync(fd);
      fd = null;
      at = bytes.length;
      preparedBytes = at + PREPARE_BYTES;
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

/** Made once; where it cannot be, the disk is full already and the agent works without it. */
function makeReserve(path: string): void {
  try {
    const fd = openSync(path, 'wx', 0o600);
    try {
      writeSync(fd, Buffer.alloc(RESERVE_BYTES));
    } finally {
      closeSync(fd);
    }
  } catch {
    // It exists, or there is no space to set aside.
  }
}
