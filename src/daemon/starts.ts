// How this agent's last starts went, in a file of its folder. A start that ends before it is through, or crashes soon
// after, without a fault that names what a user can mend, is a failure; after three in a row the next start is a careful
// one (safe mode): it supervises the jobs that run, takes no orders, leaves alone what it does not need, and says why.
//
//   starting --ready--> watched --a minute later--> well (all failures forgotten)
//      ended, killed --> failure   crash --> failure      clean stop --> all failures forgotten
//
// Safe mode ends by itself when the agent has been well in it for a while; whoever stops it cleanly before has looked
// after it, and the next start is an ordinary one.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod';
import { writeFileAtomic } from '../base/atomic-file.ts';
import type { Clock, Timer } from '../base/clock.ts';
import { describeError, errnoOf, isFault } from '../base/fault.ts';
import type { Log } from '../base/log.ts';

export const FAILURES_BEFORE_SAFE_MODE = 3;
/** An agent that has run for so long has come through. */
export const WELL_AFTER_MS = 60_000;
/** How long it stays careful. */
export const SAFE_MODE_MS = 600_000;
const FAILURES_KEPT = 16;
const REASON_CHARACTERS_MAX = 300;

const fileSchema = z.object({
  failures: z.array(z.object({ atMs: z.number(), reason: z.string().max(1024) })).max(64),
});
type Failure = z.output<typeof fileSchema>['failures'][number];

const ENDED_EARLY = 'it ended before it was ready, without a word';

export interface Starts {
  /** Why this start is a careful one, in a sentence; null for an ordinary one, and when it is over. */
  safeMode(): string | null;
  /** Everything runs. `over` is called when safe mode ends. */
  ready(over: () => void): void;
  /** The start has failed. A fault was told to somebody who can mend it; anything else is counted. */
  failed(error: unknown): void;
  /** The process is about to end over an error that nobody expected. */
  crashed(error: unknown): void;
  /** A clean stop. */
  close(): void;
}

/** Counts this start. A folder that cannot be written to counts nothing. */
export function countStarts(folder: string, clock: Clock, log: Log): Starts {
  const path = join(folder, 'starts.json');
  const earlier = readFailures(path, log);
  let reason = earlier.length >= FAILURES_BEFORE_SAFE_MODE ? describe(earlier) : null;
  let failures: readonly Failure[] = earlier;
  let timer: Timer | null = null;
  let isReady = false;
  if (reason !== null) log.error({ failures: earlier }, reason);
  write([...earlier, { atMs: clock.wallMs(), reason: ENDED_EARLY }]);

  function write(present: readonly Failure[]): void {
    failures = present.slice(-FAILURES_KEPT);
    try {
      writeFileAtomic(path, `${JSON.stringify({ failures })}\n`, 0o600);
    } catch (error) {
      log.warn({}, `this start cannot be counted: ${describeError(error)}`);
    }
  }

  function count(error: unknown): void {
    timer?.cancel();
    const text = describeError(error).slice(0, REASON_CHARACTERS_MAX);
    write([...earlier, { atMs: clock.wallMs(), reason: text }]);
  }

  return {
    safeMode: () => reason,
    ready(over) {
      isReady = true;
      // Whoever kills it from here on does not mean that it cannot start.
      write(earlier);
      timer = clock.after(reason === null ? WELL_AFTER_MS : SAFE_MODE_MS, () => {
        if (failures.length > 0) write([]);
        if (reason === null) return;
        reason = null;
        log.info({}, 'safe mode is over: orders are taken again');
        over();
      });
    },
    failed(error) {
      if (isFault(error)) write(earlier);
      else count(error);
    },
    crashed: count,
    close() {
      timer?.cancel();
      if (isReady && failures.length > 0) write([]);
    },
  };
}

function readFailures(path: string, log: Log): readonly Failure[] {
  try {
    return fileSchema.parse(JSON.parse(readFileSync(path, 'utf8'))).failures;
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT')
      log.warn({}, `the count of starts cannot be read: ${describeError(error)}`);
    return [];
  }
}

function describe(failures: readonly Failure[]): string {
  const last = failures.at(-1);
  const when =
    last === undefined ? '' : ` (the last at ${new Date(last.atMs).toISOString()}: ${last.reason})`;
  return `safe mode: the last ${failures.length} starts failed${when}; running jobs are supervised, no orders are taken`;
}
