// The files that the output store keeps, as a part that is handed in, so that a simulation can fill the disk, make it
// fail and let it lose what was not synced.
import { constants, statSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { dirname } from 'node:path';

/** What the store uses of an open file. */
export type OutputFile = Pick<FileHandle, 'write' | 'read' | 'datasync' | 'close'>;

export interface OutputDisk {
  /** Bytes of a file; 0 for one that is not there. */
  sizeBytes(path: string): number;
  /** Opens for reading and writing; with `create` it makes the file and its name durable. Throws the system's error. */
  open(path: string, create: boolean): Promise<OutputFile>;
}

export function createOutputDisk(): OutputDisk {
  return {
    // Asked once for every new job, of a file that is not there yet: much dearer through the thread pool.
    sizeBytes: (path) => statSync(path, { throwIfNoEntry: false })?.size ?? 0,
    async open(path, create) {
      const flags = constants.O_RDWR | constants.O_NOFOLLOW | (create ? constants.O_CREAT : 0);
      const handle = await open(path, flags, 0o600);
      if (!create) return handle;
      try {
        const folder = await open(dirname(path), 'r');
        await folder.datasync().finally(() => folder.close());
      } catch (error) {
        await handle.close();
        throw error;
      }
      return handle;
    },
  };
}
