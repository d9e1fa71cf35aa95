import { createClock } from '../../../../src/base/clock.ts';
import { createSilentLog } from '../../../../src/base/log.ts';
import { createProcessExecutor } from '../../../../src/job/executor/process.ts';
import { executorContract } from './contract.ts';
import { shimPath } from './harness.ts';
import { canSandbox, sandboxed } from './walls.ts';

const create = () =>
  createProcessExecutor({ shimPath, native: null, clock: createClock(), log: createSilentLog() });

if (canSandbox) executorContract('process in a sandbox', create, sandboxed, { burst: 20 });
