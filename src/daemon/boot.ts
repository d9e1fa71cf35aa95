// How a daemon starts: its parts are built in order, its start is counted, and a start that fails is counted as failed
// and leaves nothing running.
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { Host } from './host.ts';
import { createLifecycle, type Lifecycle } from './lifecycle.ts';
import { countStarts, type Starts } from './starts.ts';

/** Counts this start in the daemon's folder, once that is its own. */
export type CountStart = (folder: string, onCrash: Host['onCrash']) => Starts;

/** What `build` makes; rejects with its fault. */
export async function bootDaemon<T>(
  { clock, log }: { readonly clock: Clock; readonly log: Log },
  build: (lifecycle: Lifecycle, count: CountStart) => Promise<T>,
): Promise<T> {
  const lifecycle = createLifecycle(clock, log);
  let starts: Starts | null = null;
  try {
    return await build(lifecycle, (folder, onCrash) => {
      const counted = countStarts(folder, clock, log);
      starts = counted;
      lifecycle.onStop('count of starts', () => counted.close());
      lifecycle.onStop('crash', onCrash?.(counted.crashed) ?? (() => {}));
      return counted;
    });
  } catch (error) {
    (starts as Starts | null)?.failed(error);
    await lifecycle.stop();
    throw error;
  }
}
