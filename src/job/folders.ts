// Where attempts have their folders: everything that the job room itself does on that disk, as one part that is handed
// in, so that a simulation can lose it, fill it and let it crash. Executors and jobs use the same folders by path.
import { constants, mkdirSync, readdirSync, type StatsFs, statfsSync } from 'node:fs';
import { access, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf } from '../base/fault.ts';
import { makeFolder } from '../base/folder.ts';
import type { Native } from '../native.ts';
import { jobFile } from './executor/executor.ts';
import { storedBytes } from './executor/shim-files.ts';
import type { OutputStream } from './job.ts';
import type { MeterReading } from './meter.ts';
import { ownerOf, readMeter, readStoredOutput, removeFolder, removeIfEmpty } from './output.ts';

/** A new attempt needs room for its order, its records and its first output. */
export const FREE_MIN_BYTES = 1024 * 1024;

/** Paths are absolute. What throws, throws the system's error. */
export interface JobFolders {
  /** Makes the folder that holds those of the attempts, and lists what is in it. */
  open(jobsFolder: string): readonly string[];
  /** Why there is no space for another attempt, a clause, or null. */
  problem(): string | null;
  /** The same, and whether it may be written to at all; waits for the disk, and never rejects. */
  look(): Promise<string | null>;
  /** Makes the folder of a new attempt; throws EEXIST for one that is there. */
  make(folder: string): void;
  /** Makes the workspace in it; with `again` one that is there already will do. */
  makeWorkspace(folder: string, again: boolean): void;
  /** Removes a folder into which nobody has written anything; false when there is something. */
  removeIfEmpty(folder: string): boolean;
  remove(folder: string): Promise<void>;
  /** Bytes [offset, offset + limit) of a stream as far as they are stored. */
  readOutput(folder: string, stream: OutputStream, offset: number, limit: number): Promise<Uint8Array>;
  /** The user that the workspace in it belongs to; null where it is the agent's own, or there is none. */
  ownerOf(folder: string): number | null;
  /** Sizes of the stored output. */
  storedBytes(folder: string): { readonly stdoutBytes: number; readonly stderrBytes: number };
  /** Null when the job wrote none; a sentence when it cannot be read. */
  readMeter(folder: string): Promise<MeterReading | string | null>;
}

export function createJobFolders(native: Native | null): JobFolders {
  let opened: string | null = null;
  return {
    open(jobsFolder) {
      makeFolder(jobsFolder);
      opened = jobsFolder;
      return readdirSync(jobsFolder);
    },
    problem: () => (opened === null ? null : shortage(opened, statfsSync(opened))),
    async look() {
      if (opened === null) return null;
      try {
        await access(opened, constants.W_OK);
        return shortage(opened, await statfs(opened));
      } catch (error) {
        const code = errnoOf(error) ?? 'unknown';
        return code === 'EROFS'
          ? `the disk of ${opened} is read-only`
          : `${opened} cannot be written to (${code})`;
      }
    },
    make(folder) {
      mkdirSync(folder, { mode: 0o700 });
    },
    makeWorkspace(folder, again) {
      const workspace = join(folder, jobFile.workspace);
      if (again) makeFolder(workspace);
      else mkdirSync(workspace, { mode: 0o700 });
    },
    removeIfEmpty,
    remove: (folder) => removeFolder(folder, native),
    readOutput: readStoredOutput,
    ownerOf,
    storedBytes,
    readMeter,
  };
}

/** Some file systems count neither blocks nor files: they say 0 of 0. */
function shortage(folder: string, { bavail, bsize, blocks, ffree, files }: StatsFs): string | null {
  if (blocks > 0 && bavail * bsize < FREE_MIN_BYTES) return `the disk of ${folder} is full`;
  return files > 0 && ffree === 0 ? `the disk of ${folder} takes no more files` : null;
}
