// What each job of a simulation does when it runs, decided by the seed and the job's number, not by when or where it
// runs. Its output is a function of place, so that nobody has to keep it.
import { createHash } from 'node:crypto';
import type { OutputStream } from '../../src/job/job.ts';
import { type JobSpecInput, retryCauses } from '../../src/protocol/spec.ts';
import { createDice, type Dice, hashOf } from './seed.ts';

export interface Run {
  readonly durationMs: number;
  readonly exitCode: number;
  /** Ends by this signal in place of its code; 0 for none. */
  readonly signal: number;
  /** Killed by the kernel for its memory. */
  readonly outOfMemory: boolean;
  /** What it does when it is asked to stop. */
  readonly onStop: 'dies' | 'exits' | 'ignores';
  /** Writes, in order: a share of its duration, a stream and a size. */
  readonly writes: readonly { readonly at: number; readonly stream: OutputStream; readonly bytes: number }[];
  readonly canStart: boolean;
}

export function planRun(seed: number, job: number, epoch: number): Run {
  const dice = createDice(hashOf(seed, `run ${job} ${epoch}`));
  const writes: { at: number; stream: OutputStream; bytes: number }[] = [];
  const count = dice.chance(0.3) ? 0 : dice.between(1, 6);
  for (let at = 0; at < count; at += 1) {
    const bytes = dice.chance(0.04) ? dice.between(60_000, 700_000) : dice.between(1, 3000);
    writes.push({ at: dice.random(), stream: dice.chance(0.7) ? 'stdout' : 'stderr', bytes });
  }
  const outOfMemory = dice.chance(0.05);
  const bySignal = outOfMemory ? 9 : dice.chance(0.1) ? dice.pick([1, 6, 9, 11, 15]) : 0;
  return {
    durationMs: dice.chance(0.3) ? dice.random() * 50 : dice.random() * 20_000,
    exitCode: dice.chance(0.5) ? 0 : dice.between(1, 255),
    signal: bySignal,
    outOfMemory,
    onStop: dice.pick(['dies', 'exits', 'ignores']),
    writes: writes.sort((a, b) => a.at - b.at),
    canStart: !dice.chance(0.05),
  };
}

/** Bytes [offset, offset + length) of what an attempt writes to a stream. */
export function outputBytes(name: string, stream: OutputStream, offset: number, length: number): Uint8Array {
  const base = hashOf(stream === 'stdout' ? 1 : 2, name);
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 1) bytes[at] = Math.imul(offset + at + base, 0x9e3779b1) >>> 24;
  return bytes;
}

export function digestOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex').slice(0, 16);
}

/** The command of a job that runs until it is stopped. */
export const ENDLESS = 'endless';
export const ENDLESS_MS = 24 * 3600_000;

/** What its user asks for. */
export function specOf(job: number, dice: Dice): JobSpecInput {
  const wantsDevice = dice.chance(0.25);
  return {
    version: 1,
    name: `j${job}`,
    command: [dice.chance(0.15) ? ENDLESS : 'job'],
    resources: {
      cpus: dice.pick([0.5, 1, 1, 2]),
      accelerators: wantsDevice ? { count: 1, shared: false } : null,
    },
    timeLimitMs: dice.chance(0.2) ? dice.between(1, 15_000) : null,
    graceMs: dice.pick([0, 500, 5000]),
    priority: dice.between(-1, 1),
    disconnect: dice.chance(0.4)
      ? { policy: 'stop', afterMs: dice.pick([0, 2000, 10_000, 30_000]) }
      : { policy: 'keep' },
    retry: dice.chance(0.4)
      ? {
          times: dice.between(1, 3),
          on: dice.pick([[...retryCauses], ['disconnected', 'lost']]),
          delayMs: dice.between(0, 3000),
        }
      : { times: 0 },
  };
}
