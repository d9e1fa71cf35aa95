// What a client of a command beside a job may make the session of the node carry. Its bytes are bounded by credit; its
// messages have their own cost on the way, however little is in them, and the session is everybody's.
import type { Clock } from '../base/clock.ts';

/** Changes of size and signals at once, and how many more a second: far above what a person brings about. */
const CONTROLS_AT_ONCE = 500;
const CONTROLS_PER_SECOND = 100;
/** Pieces of input that the node has not taken; bytes that come one by one would be forty times as many on the way. */
const MAX_PIECES = 8192;
/** Credit is passed on in such amounts; the rest of it with the last byte that was told. */
const CREDIT_STEP_BYTES = 4096;

export interface ExecBudget {
  /** Whether one more signal or size may go to the node. */
  control(): boolean;
  /** Whether one more piece of input may go to the node. */
  piece(): boolean;
  /** So many bytes of input the node has not taken yet. */
  taken(untakenBytes: number): void;
  /** Adds what the client has taken; returns what the node is to be told now, 0 for nothing. */
  credit(bytes: number, untakenBytes: number): number;
}

export function createExecBudget(clock: Pick<Clock, 'monotonicMs'>): ExecBudget {
  let controls = CONTROLS_AT_ONCE;
  let atMs = clock.monotonicMs();
  let pieces = 0;
  let untoldBytes = 0;
  return {
    control() {
      const nowMs = clock.monotonicMs();
      controls = Math.min(CONTROLS_AT_ONCE, controls + ((nowMs - atMs) / 1000) * CONTROLS_PER_SECOND);
      atMs = nowMs;
      controls -= 1;
      return controls >= 0;
    },
    piece() {
      pieces += 1;
      return pieces <= MAX_PIECES;
    },
    taken(untakenBytes) {
      // None is empty.
      pieces = Math.min(pieces, untakenBytes);
    },
    credit(bytes, untakenBytes) {
      untoldBytes += bytes;
      if (untoldBytes < CREDIT_STEP_BYTES && untakenBytes > 0) return 0;
      const told = untoldBytes;
      untoldBytes = 0;
      return told;
    },
  };
}
