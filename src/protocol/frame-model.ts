// What both ends of a telemetry session have learned so far: the last value of every column, the usual step of
// every counter, and the models under which integers are coded. All of it lies in one piece of memory, so that a
// decoder can work on a copy and keep it only when the whole frame made sense.
import { statistic, windowStatistics } from './columns.ts';
import type { BitCoder } from './range-coder.ts';
import { FRESH_MODEL } from './range-coder.ts';

/** What an integer stands for; integers of one role share models. */
export const role = { counter: 0, last: 1, max: 2, min: 3, mean: 4, head: 5, first: 6, guided: 7 } as const;
export type Role = (typeof role)[keyof typeof role];

/** Largest magnitude of a coded integer has this many bits. */
export const INTEGER_BITS = 54;
const ESCAPE = INTEGER_BITS + 1;

const ROLES = 8;
const SIZES = 8;
const STEPS = 16;
const SIGNS = ROLES * SIZES * STEPS;
const LEADING = SIGNS + ROLES * SIZES;
const FLAGS = LEADING + ROLES * STEPS;
const SHARED_MODELS = FLAGS + 4;

/** Places that belong to the frame and not to a column. */
const HEAD_SLOTS = 4;
/** Values that a list of usual values holds, and the models of one role for it: one for "in the list", the rest a tree. */
const USUAL_BITS = 5;
const USUAL = 1 << USUAL_BITS;
const USUAL_ROLES = 4;
/** Sizes and flags of the last frame, per column. */
const SEEN = 1;
const QUIET = 2;

/** Furthest that one step may pull the usual step of a counter, by the usual size of the error. */
const LIMITS = Float64Array.from({ length: 64 }, (_, size) => 2 ** (size + 1));
const LOW_BITS = 28;
const LOW = 2 ** LOW_BITS;

/** Hot: every window and frame. */
export class FrameModel {
  readonly columnCount: number;
  readonly listCount: number;
  /** Last quantised value of each column. */
  readonly last: Float64Array;
  /** Usual step of each counter between two windows. */
  readonly drift: Float64Array;
  /** Reason code of each column in the last frame. */
  readonly reasons: Uint8Array;
  /** Lists of usual values, for families that take few. */
  readonly #usual: Float64Array;
  readonly #models: Uint16Array;
  readonly #usualModels: number;
  /** Usual number of bits of each place, times four. */
  readonly #sizes: Uint8Array;
  readonly #flags: Uint8Array;
  /** Per list: which values were used since the hand passed, and where the hand is. */
  readonly #used: Uint8Array;
  readonly #hands: Uint8Array;
  readonly #memory: Uint8Array;

  constructor(columnCount: number, listCount: number) {
    this.columnCount = columnCount;
    this.listCount = listCount;
    this.#usualModels = SHARED_MODELS + 2 * columnCount;
    const lengths = [
      8 * columnCount,
      8 * columnCount,
      8 * USUAL * listCount,
      2 * (this.#usualModels + USUAL * USUAL_ROLES * listCount),
      windowStatistics * columnCount + HEAD_SLOTS,
      columnCount,
      columnCount,
      USUAL * listCount,
      listCount,
    ];
    const memory = new ArrayBuffer(lengths.reduce((sum, length) => sum + length, 0));
    let at = 0;
    const take = () => {
      const length = lengths.shift() ?? 0;
      at += length;
      return [memory, at - length, length] as const;
    };
    const doubles = () => {
      const [buffer, from, length] = take();
      return new Float64Array(buffer, from, length / 8);
    };
    this.last = doubles();
    this.drift = doubles();
    this.#usual = doubles();
    const [buffer, from, length] = take();
    this.#models = new Uint16Array(buffer, from, length / 2);
    this.#sizes = new Uint8Array(...take());
    this.#flags = new Uint8Array(...take());
    this.reasons = new Uint8Array(...take());
    this.#used = new Uint8Array(...take());
    this.#hands = new Uint8Array(...take());
    this.#memory = new Uint8Array(memory);
    this.clear();
  }

  /** Forgets everything. */
  clear(): void {
    this.#memory.fill(0);
    this.#models.fill(FRESH_MODEL);
  }

  /** Whether another model is of the same shape. */
  fits(other: FrameModel): boolean {
    return this.columnCount === other.columnCount && this.listCount === other.listCount;
  }

  /** Becomes equal to another model of the same shape. */
  copyFrom(other: FrameModel): void {
    this.#memory.set(other.#memory);
  }

  /** Codes a decision about the whole frame (0) or about the reason of one column (1). */
  flag(coder: BitCoder, which: 0 | 1, value: number): number {
    return coder.bit(this.#models, FLAGS + which, value);
  }

  /** Codes whether a column stands still, under a model of its own. */
  quiet(coder: BitCoder, column: number, value: number): number {
    const flags = this.#flags[column] ?? 0;
    const quiet = coder.bit(this.#models, SHARED_MODELS + 2 * column + ((flags & QUIET) >> 1), value);
    this.#flags[column] = (flags & SEEN) | (quiet * QUIET);
    return quiet;
  }

  /** Whether the column has had a value since the models were fresh; from now on it has. */
  see(column: number): boolean {
    const flags = this.#flags[column] ?? 0;
    this.#flags[column] = flags | SEEN;
    return (flags & SEEN) !== 0;
  }

  /** Codes a value that is in a list of usual values by its place in it; NaN where it is not. */
  usual(coder: BitCoder, list: number, which: Role, value: number): number {
    const values = list * USUAL;
    const base = this.#usualModels + (list * USUAL_ROLES + which) * USUAL;
    let place = 0;
    while (place < USUAL && this.#usual[values + place] !== value) place += 1;
    if (coder.bit(this.#models, base, place < USUAL ? 1 : 0) === 0) return Number.NaN;
    let node = 1;
    for (let bit = USUAL_BITS - 1; bit >= 0; bit -= 1) {
      node = (node << 1) | coder.bit(this.#models, base + node, (place >> bit) & 1);
    }
    const at = values + (node & (USUAL - 1));
    this.#used[at] = 1;
    return this.#usual[at] ?? 0;
  }

  /** Puts a value into a list, in the place of one that has not been used for long. */
  addUsual(list: number, value: number): void {
    const values = list * USUAL;
    let hand = this.#hands[list] ?? 0;
    for (; this.#used[values + hand] === 1; hand = (hand + 1) % USUAL) this.#used[values + hand] = 0;
    this.#usual[values + hand] = value;
    this.#hands[list] = (hand + 1) % USUAL;
  }

  /** Moves the usual step of a counter towards the step just seen; one outlier moves it little. */
  learnDrift(column: number, step: number): void {
    const limit = LIMITS[(this.#sizes[windowStatistics * column + statistic.last] ?? 0) >> 2] ?? 0;
    const drift = this.drift[column] ?? 0;
    const error = Math.max(-limit, Math.min(limit, step - drift));
    this.drift[column] = drift + error / 8;
  }

  /**
   * Codes an integer of at most INTEGER_BITS bits, or NaN for "not an integer". `slot` is the place whose usual
   * size is expected and learned; `size` overrides that with a known one where it is not negative.
   */
  integer(coder: BitCoder, which: Role, slot: number, size: number, value: number): number {
    const usual = this.#sizes[slot] ?? 0;
    const expected = size >= 0 ? size : (usual + 2) >> 2;
    const bits = bitLength(value);
    const models = this.#models;
    const sizeClass = which * SIZES + (expected < SIZES ? expected : SIZES - 1);
    const base = sizeClass * STEPS;
    let n = expected;
    if (expected < ESCAPE && coder.bit(models, base, bits > expected ? 1 : 0) === 1) {
      n += 1;
      for (let at = 1; n < ESCAPE && coder.bit(models, base + at, bits > n ? 1 : 0) === 1; n += 1)
        if (at < 7) at += 1;
    } else {
      for (let at = 8; n > 0 && coder.bit(models, base + at, bits < n ? 1 : 0) === 1; n -= 1)
        if (at < 15) at += 1;
    }
    if (size < 0) this.#sizes[slot] = usual + (((n << 2) - usual + 2) >> 2);
    if (n === 0) return 0;
    if (n === ESCAPE) return Number.NaN;
    const negative = coder.bit(models, SIGNS + sizeClass, value < 0 ? 1 : 0);
    const magnitude = this.#mantissa(coder, which, n, Math.abs(value));
    return negative === 1 ? -magnitude : magnitude;
  }

  #mantissa(coder: BitCoder, which: Role, bits: number, value: number): number {
    if (bits === 1) return 1;
    const highBits = bits > LOW_BITS ? bits - LOW_BITS : 0;
    const lowBits = bits - highBits;
    const high = highBits > 0 ? Math.floor(value / LOW) : 0;
    const low = value - high * LOW;
    // The bit after the leading one is worth a model; the rest is noise.
    const top = highBits > 0 ? highBits : lowBits;
    const part = highBits > 0 ? high : low;
    let coded = 1;
    if (top > 1) {
      const at = LEADING + which * STEPS + (bits < STEPS ? bits : STEPS - 1);
      coded = 2 | coder.bit(this.#models, at, (part >> (top - 2)) & 1);
      coded = fairBits(coder, top - 2, part, coded);
    }
    return highBits > 0 ? coded * LOW + fairBits(coder, lowBits, low, 0) : coded;
  }
}

/** Codes the low `count` bits of `value` behind those already in `coded`. */
function fairBits(coder: BitCoder, count: number, value: number, coded: number): number {
  let all = coded;
  for (let rest = count; rest > 0; ) {
    const many = Math.min(rest, 8);
    rest -= many;
    all = (all << many) | coder.fairBits(many, (value >>> rest) & ((1 << many) - 1));
  }
  return all;
}

/** Codes the 64 bits of a double. */
export function codeDouble(coder: BitCoder, words: Uint32Array, double: Float64Array, value: number): number {
  double[0] = value;
  for (let at = 0; at < 2; at += 1) words[at] = fairBits(coder, 32, words[at] ?? 0, 0);
  return double[0] ?? 0;
}

/** Number of bits of the magnitude of an integer; ESCAPE for NaN. */
export function bitLength(value: number): number {
  const magnitude = Math.abs(value);
  if (magnitude < 4294967296) return 32 - Math.clz32(magnitude);
  return Number.isNaN(magnitude) ? ESCAPE : 64 - Math.clz32(magnitude / 4294967296);
}
