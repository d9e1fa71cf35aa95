// Ordered start and stop. What starts later stops earlier; every stop has a deadline, so that one part that hangs
// does not keep the others from closing. A start that fails closes what had started before it.
import type { Clock } from '../base/clock.ts';
import { describeError } from '../base/fault.ts';
import type { Log } from '../base/log.ts';

/** How long one part may take to stop. */
export const STOP_DEADLINE_MS = 3000;

export interface Lifecycle {
  /** Registers how to stop a part that runs now. */
  onStop(name: string, stop: () => void | Promise<void>): void;
  /** Stops everything once, last started first. Never rejects; failures are logged. */
  stop(): Promise<void>;
}

export function createLifecycle(clock: Clock, log: Log, deadlineMs = STOP_DEADLINE_MS): Lifecycle {
  const parts: { name: string; stop: () => void | Promise<void> }[] = [];
  let stopping: Promise<void> | null = null;

  async function stopAll(): Promise<void> {
    for (let part = parts.pop(); part !== undefined; part = parts.pop()) {
      try {
        await withDeadline(part.stop, part.name);
      } catch (error) {
        log.warn({ part: part.name }, `stopping: ${describeError(error)}`);
      }
    }
  }

  async function withDeadline(stop: () => void | Promise<void>, name: string): Promise<void> {
    let expire: () => void = () => {};
    const late = new Promise<never>((_resolve, reject) => {
      expire = () => reject(new Error(`${name} did not stop within ${deadlineMs} ms`));
    });
    const timer = clock.after(deadlineMs, expire);
    try {
      await Promise.race([stop(), late]);
    } finally {
      timer.cancel();
    }
  }

  return {
    onStop: (name, stop) => void parts.push({ name, stop }),
    stop() {
      stopping ??= stopAll();
      return stopping;
    },
  };
}
