// A journal's disk in memory, which can be told to fail and to wait, and keeps what was synced.
import type { JournalDisk } from '../../../src/job/journal.ts';

export interface MemoryDisk extends JournalDisk {
  bytes: Buffer;
  aside: Buffer[];
  appends: number;
  replaces: number;
  /** Error code that every write gets, or null. */
  failing: string | null;
  reserve: boolean;
  /** Called before each append is done. */
  gate: (() => Promise<void>) | null;
}

export function createMemoryDisk(bytes: Uint8Array = Buffer.alloc(0)): MemoryDisk {
  const fail = (code: string): never => {
    throw Object.assign(new Error(`${code}: made up`), { code });
  };
  const disk: MemoryDisk = {
    bytes: Buffer.from(bytes),
    aside: [],
    appends: 0,
    replaces: 0,
    failing: null,
    reserve: false,
    gate: null,
    read: () => disk.bytes,
    quarantine(damaged) {
      disk.aside.push(Buffer.from(damaged));
    },
    async append(more) {
      disk.appends += 1;
      await disk.gate?.();
      if (disk.failing !== null) fail(disk.failing);
      disk.bytes = Buffer.concat([disk.bytes, more]);
    },
    async replace(all) {
      disk.replaces += 1;
      if (disk.failing !== null) fail(disk.failing);
      disk.bytes = Buffer.from(all);
    },
    releaseReserve() {
      const had = disk.reserve;
      if (had) disk.failing = null;
      disk.reserve = false;
      return had;
    },
    async close() {},
  };
  return disk;
}
