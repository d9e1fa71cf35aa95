// What each job of a campaign does, decided by the seed and its index; and the bytes that job.c writes.
import { createHash } from 'node:crypto';
import { createDice } from '../simulation/seed.ts';

export const MEMORY_BYTES = 48 * 1024 * 1024;
const SIGNALS = [1, 2, 6, 9, 11, 15] as const;

export interface JobPlan {
  readonly index: number;
  readonly mode: 'code' | 'signal' | 'memory';
  /** Exit code or number of the signal. */
  readonly value: number;
  readonly stdoutBytes: number;
  readonly stderrBytes: number;
  readonly sleepMs: number;
}

export function planJob(seed: number, index: number, limitsMemory: boolean): JobPlan {
  const dice = createDice(seed).fork('job', index);
  const draw = dice.random();
  const mode = draw < 0.02 && limitsMemory ? 'memory' : draw < 0.15 ? 'signal' : 'code';
  const size = (): number =>
    dice.chance(0.4) ? 0 : dice.chance(0.03) ? dice.between(60_000, 400_000) : dice.between(1, 4000);
  return {
    index,
    mode,
    value:
      mode === 'code'
        ? dice.chance(0.5)
          ? 0
          : dice.between(1, 255)
        : mode === 'signal'
          ? dice.pick(SIGNALS)
          : 9,
    stdoutBytes: size(),
    stderrBytes: size(),
    sleepMs: dice.chance(0.1) ? dice.between(100, 1500) : dice.between(0, 60),
  };
}

/** The first `length` bytes that a job writes. */
export function planBytes(index: number, stream: 'stdout' | 'stderr', length: number): Uint8Array {
  const base = Math.imul(index * 2 + (stream === 'stdout' ? 0 : 1), 2654435761 | 0);
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 1) bytes[at] = Math.imul(at + base, 0x9e3779b1) >>> 24;
  return bytes;
}

export function digestOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex').slice(0, 16);
}
