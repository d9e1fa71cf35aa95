// Control groups of jobs: who kills a job's shim must remove what the shim would have removed.
import { readdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';

const ROOT = '/sys/fs/cgroup';
/** The hierarchy of a controller, and the group of this process in it. */
const DEPTH = 4;
const TRIES = 100;
const TRY_AGAIN_MS = 20;

/** Attempts whose folders lie below `folder`, as `JOB.EPOCH`. */
function attemptsBelow(folder: string, depth = 4): string[] {
  return childrenOf(folder).flatMap((name) => {
    if (/^job-\w+\.\d+$/.test(name)) return [name];
    return depth === 0 ? [] : attemptsBelow(join(folder, name), depth - 1);
  });
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

/** Control groups of these names, wherever they are; those of others may come and go meanwhile. */
export function groupsNamed(names: ReadonlySet<string>, folder = ROOT, depth = DEPTH): string[] {
  return childrenOf(folder).flatMap((name) => {
    const path = join(folder, name);
    if (names.has(name)) return [path];
    return depth === 0 ? [] : groupsNamed(names, path, depth - 1);
  });
}

/**
 * Removes the groups of the jobs whose folders lie below `folder`. Call it when their processes are killed and before
 * the folders are removed; what has processes in it for longer than two seconds stays.
 */
export async function removeGroupsOf(folder: string): Promise<void> {
  const names = new Set(attemptsBelow(folder).map((name) => `flopd.${name}`));
  let groups = names.size === 0 ? [] : groupsNamed(names);
  for (let round = 0; groups.length > 0 && round < TRIES; round++) {
    if (round > 0) await new Promise((resolve) => setTimeout(resolve, TRY_AGAIN_MS));
    groups = groups.filter((group) => !isRemoved(group));
  }
}

function isRemoved(group: string): boolean {
  try {
    rmdirSync(group);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT';
  }
}
