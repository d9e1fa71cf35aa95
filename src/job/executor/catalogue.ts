// The executors of this build, by the name that a job specification uses.
import type { Clock } from '../../base/clock.ts';
import type { Log } from '../../base/log.ts';
import type { Native } from '../../native.ts';
import { type ContainerExecutorOptions, createContainerExecutor } from './container.ts';
import type { Executor } from './executor.ts';
import { createProcessExecutor } from './process.ts';

export interface ExecutorOptions {
  readonly shimPath: string;
  readonly native: Native | null;
  readonly clock: Clock;
  readonly log: Log;
  /** A process was started whose children shims will be. */
  readonly onHatched?: (pid: number) => void;
  /** Absent: no containers. */
  readonly containers?: Omit<ContainerExecutorOptions, 'inner' | 'clock' | 'log'>;
}

export function createExecutors({ containers, ...options }: ExecutorOptions): Executor[] {
  const inner = createProcessExecutor(options);
  if (containers === undefined) return [inner];
  return [inner, createContainerExecutor({ ...options, ...containers, inner })];
}
