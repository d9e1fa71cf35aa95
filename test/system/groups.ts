// Control groups of jobs: a bed that kills everything kills the shims that would have removed them.
import { readdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';

const ROOT = '/sys/fs/cgroup';
/** The hierarchy of a controller, and the group of this process in it. */
const DEPTH = 4;

/** Attempts whose folders lie below `folder`, as `JOB.EPOCH`. */
function attemptsBelow(folder: string, depth = 4): string[] {
  return childrenOf(folder).flatMap((name) =>
    /^job-\w+\.\d+$/.test(name) ? [name] : depth === 0 ? [] : attemptsBelow(join(folder, name), depth - 1),
  );
}

function childrenOf(folder: string): string[] {
  try {
    return readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name);
  } catch {
    return [];
  }
}

/** Empty groups of the jobs whose folders lie below `folder`; call it before those are removed. */
export function removeGroupsOf(folder: string): void {
  const names = new Set(attemptsBelow(folder).map((name) => `flopd.${name}`));
  if (names.size > 0) removeBelow(ROOT, names, DEPTH);
}

function removeBelow(folder: string, names: ReadonlySet<string>, depth: number): void {
  for (const name of childrenOf(folder)) {
    const path = join(folder, name);
    if (names.has(name)) {
      try {
        rmdirSync(path);
      } catch {
        // A process in it is about to end; test/leftovers looks again.
      }
    } else if (depth > 0) removeBelow(path, names, depth - 1);
  }
}
