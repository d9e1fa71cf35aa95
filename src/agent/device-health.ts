// Keeps the health ladder over a restart: a card that needs a reset still needs it after the agent was. Written soon
// after each change, at most once a second; a disk that is full costs the memory of faults, never the agent.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod';
import { writeFileAtomic } from '../base/atomic-file.ts';
import type { Clock, Timer } from '../base/clock.ts';
import { describeError, errnoOf } from '../base/fault.ts';
import type { Log } from '../base/log.ts';
import type { Ladder, LadderState } from '../device/health.ts';
import { cordonSchema, faultSchema } from '../protocol/device.ts';

const WRITE_AFTER_MS = 1000;

const stateSchema = z.strictObject({
  bootId: z.string(),
  devices: z.record(
    z.string(),
    z.strictObject({
      faults: z.array(faultSchema.extend({ needsReset: z.boolean() })).max(64),
      cordon: cordonSchema.nullable(),
      fallsMs: z.array(z.number()).max(64),
    }),
  ),
});

const pathOf = (folder: string): string => join(folder, 'device-health.json');

/** What the last agent knew; null where there is nothing, or nothing that can be read. */
export function readLadderState(folder: string, log: Log): LadderState | null {
  try {
    return stateSchema.parse(JSON.parse(readFileSync(pathOf(folder), 'utf8')));
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT')
      log.warn({ reason: describeError(error) }, 'the faults of accelerators that were kept cannot be read');
    return null;
  }
}

export interface LadderKeeper {
  /** The ladder may have changed. */
  look(): void;
  /** Writes what is not written yet. */
  close(): void;
}

export function createLadderKeeper(folder: string, ladder: Ladder, clock: Clock, log: Log): LadderKeeper {
  let written = ladder.revision();
  let timer: Timer | null = null;
  let isFailing = false;

  function write(): void {
    timer = null;
    const revision = ladder.revision();
    if (revision === written) return;
    try {
      writeFileAtomic(pathOf(folder), JSON.stringify(ladder.state()), 0o600);
      written = revision;
      isFailing = false;
    } catch (error) {
      if (!isFailing) log.error({ reason: describeError(error) }, 'faults of accelerators cannot be kept');
      isFailing = true;
    }
  }

  return {
    look() {
      if (ladder.revision() !== written) timer ??= clock.after(WRITE_AFTER_MS, write);
    },
    close() {
      timer?.cancel();
      write();
    },
  };
}
