// The walls that tests of the shim put around jobs: a sandbox and a user of its own, where this machine allows them.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { jobFile, noContainment } from '../../../../src/job/executor/executor.ts';
import type { RequestChange } from './harness.ts';

const BWRAP = '/usr/bin/bwrap';
const isRoot = process.getuid?.() === 0;

/** Whether bubblewrap works here, as this user. */
export const canSandbox =
  spawnSync(BWRAP, ['--ro-bind', '/', '/', '--unshare-pid', '--proc', '/proc', '--', 'true']).status === 0;

const uid = 700_000_000 + (process.pid % 65536);
export const jobUser = isRoot ? { uid, gid: uid, groups: [] } : null;

/** The arguments of bubblewrap for a job in this folder. */
export function wrapOf(folder: string): string[] {
  const workspace = join(folder, jobFile.workspace);
  const system = ['--ro-bind', '/', '/', '--dev', '/dev', '--proc', '/proc'];
  const own = ['--tmpfs', folder, '--bind', workspace, workspace];
  return [BWRAP, ...system, ...own, '--unshare-pid', '--as-pid-1', '--die-with-parent', '--'];
}

export const sandboxed: RequestChange = (folder) => ({
  containment: { ...noContainment, user: jobUser, wrap: wrapOf(folder) },
});
