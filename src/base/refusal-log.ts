// One place for lines about what strangers and faulty peers send: at most LINES_PER_PERIOD in a period, the rest
// is counted and told once. A flood costs no disk.
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';

const LINES_PER_PERIOD = 20;
const PERIOD_MS = 10_000;

export interface RefusalLog {
  refused(facts: object, message: string): void;
}

export function createRefusalLog(log: Log, clock: Clock): RefusalLog {
  let periodStartMs = Number.NEGATIVE_INFINITY;
  let lines = 0;
  let suppressed = 0;
  return {
    refused(facts, message) {
      const nowMs = clock.monotonicMs();
      if (nowMs - periodStartMs >= PERIOD_MS) {
        if (suppressed > 0) log.warn({ suppressed }, 'refusals that were not logged one by one');
        periodStartMs = nowMs;
        lines = 0;
        suppressed = 0;
      }
      lines += 1;
      if (lines <= LINES_PER_PERIOD) log.warn(facts, message);
      else suppressed += 1;
    },
  };
}
