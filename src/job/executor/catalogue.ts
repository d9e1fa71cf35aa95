// The executors of this build, by the name that a job specification uses.
import type { Clock } from '../../base/clock.ts';
import type { Log } from '../../base/log.ts';
import type { Native } from '../../native.ts';
import type { Executor } from './executor.ts';
import { createProcessExecutor } from './process.ts';

export interface ExecutorOptions {
  readonly shimPath: string;
  readonly native: Native | null;
  readonly clock: Clock;
  readonly log: Log;
}

export function createExecutors(options: ExecutorOptions): Executor[] {
  return [createProcessExecutor(options)];
}
