// Makes a folder and those above it that are missing. Node's own recursive mkdir spins for ever where the kernel
// answers ENOENT to mkdir itself, as it does below /proc and in removed folders.
import { mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { errnoOf } from './fault.ts';

/** `mode` is that of the new folders, private unless told; existing ones stay as they are. Throws the system's error. */
export function makeFolder(path: string, mode = 0o700): void {
  const missing: string[] = [];
  let at = path;
  while (statSync(at, { throwIfNoEntry: false }) === undefined && at !== dirname(at)) {
    missing.push(at);
    at = dirname(at);
  }
  for (const folder of missing.reverse()) {
    try {
      mkdirSync(folder, { mode });
    } catch (error) {
      // Somebody else made it in between.
      if (errnoOf(error) !== 'EEXIST') throw error;
    }
  }
  // A file in its place is told as such.
  if (!statSync(path).isDirectory())
    throw Object.assign(new Error(`${path} is not a folder`), { code: 'ENOTDIR' });
}
