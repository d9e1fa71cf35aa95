import { join } from 'node:path';
import { createClock } from '../../../../src/base/clock.ts';
import { createSilentLog } from '../../../../src/base/log.ts';
import { jobFile, noContainment } from '../../../../src/job/executor/executor.ts';
import { createProcessExecutor } from '../../../../src/job/executor/process.ts';
import { executorContract } from './contract.ts';
import { type RequestChange, shimPath } from './harness.ts';

const create = () =>
  createProcessExecutor({ shimPath, native: null, clock: createClock(), log: createSilentLog() });
const sandboxed: RequestChange = (folder) => {
  const workspace = join(folder, jobFile.workspace);
  const system = ['--ro-bind', '/', '/', '--dev', '/dev', '--proc', '/proc'];
  const own = ['--tmpfs', folder, '--bind', workspace, workspace];
  const wrap = [
    '/usr/bin/bwrap',
    ...system,
    ...own,
    '--unshare-pid',
    '--as-pid-1',
    '--die-with-parent',
    '--',
  ];
  return { containment: { ...noContainment, user: { uid: 700000123, gid: 700000123, groups: [] }, wrap } };
};
executorContract('process in a sandbox', create, sandboxed);
