// What the output store reads and writes on the way of every chunk, as a part that is handed in, so that a simulation
// can fill the disk, make it fail and let it lose what was not synced.
import { statSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { openStreamFile, readRemoval } from './output-folder.ts';
import { type OutputTimes, openOutputTimes } from './output-times.ts';

/** What the store uses of an open file. */
export type OutputFile = Pick<FileHandle, 'write' | 'read' | 'datasync' | 'close'>;

export interface OutputDisk {
  /** Bytes of a file; 0 for one that is not there. */
  sizeBytes(path: string): number;
  /** Opens for reading and writing; with `create` it makes the file and its name durable. Throws the system's error. */
  open(path: string, create: boolean): Promise<OutputFile>;
  /** The index of a stream by time; `isNew` when there is none to go on with. */
  times(path: string, isNew: boolean): OutputTimes;
  /** Why the output of an attempt (`<jobId>.<epoch>`) was removed, or null. */
  removal(folder: string, attempt: string): string | null;
}

export function createOutputDisk(): OutputDisk {
  return {
    // Asked once for every new job, of a file that is not there yet: much dearer through the thread pool.
    sizeBytes: (path) => statSync(path, { throwIfNoEntry: false })?.size ?? 0,
    open: openStreamFile,
    times: openOutputTimes,
    removal: readRemoval,
  };
}
