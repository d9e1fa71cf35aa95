// The columns of a telemetry frame: one description of the format for both directions, see frame.ts for the format
// itself. Encoding, values are read from a window; decoding, they are written into a fresh one.
import { crc32 } from 'node:zlib';
import { Fault } from '../base/fault.ts';
import type { Column } from './columns.ts';
import { absentReasons, columnFamilies, statistic, windowStatistics } from './columns.ts';
import type { FrameModel, Role } from './frame-model.ts';
import { bitLength, codeDouble, role } from './frame-model.ts';
import type { BitCoder } from './range-coder.ts';

/** Largest quantised value; the distance between two of them is still an exact double. */
const MAX_QUANTISED = 2 ** 52;
/** Bits expected of the first value of a column. */
const FIRST_SIZE = 16;
/** Size of a place that has learned its own. */
const LEARNED = -1;
const REASON_ERROR = absentReasons.indexOf('error');
const { min: MIN, mean: MEAN, max: MAX, last: LAST } = statistic;

/** Hot: every window and frame. Throws LINK_FRAME_RANGE while decoding what no encoder can have meant. */
export class ColumnCodec {
  readonly generation: number;
  readonly columns: readonly Column[];
  /** CRC-32 of the dictionary: the check that key frames begin with. */
  readonly check: number;
  readonly #gauge: Uint8Array;
  /** An integer is value × divisor / factor; one of the two is 1, so that decimals stay exact. */
  readonly #divisor: Float64Array;
  readonly #factor: Float64Array;
  readonly #double = new Float64Array(1);
  readonly #words: Uint32Array;
  // Of the frame in work.
  #coder: BitCoder;
  #model: FrameModel;
  #values: Float64Array;
  #reasons: Uint8Array;
  #decoding = false;

  constructor(generation: number, columns: readonly Column[], coder: BitCoder, model: FrameModel) {
    this.generation = generation;
    this.columns = columns;
    this.check = crc32(
      JSON.stringify([generation, columns.map(({ family, owner, label }) => [family, owner, label])]),
    );
    this.#gauge = new Uint8Array(columns.length);
    this.#divisor = new Float64Array(columns.length);
    this.#factor = new Float64Array(columns.length);
    columns.forEach(({ family }, at) => {
      const { kind, resolution } = columnFamilies[family];
      this.#gauge[at] = kind === 'gauge' ? 1 : 0;
      this.#divisor[at] = resolution < 1 ? Math.round(1 / resolution) : 1;
      this.#factor[at] = Math.max(resolution, 1);
    });
    this.#words = new Uint32Array(this.#double.buffer);
    this.#coder = coder;
    this.#model = model;
    this.#values = this.#double;
    this.#reasons = new Uint8Array(0);
  }

  /** Codes all columns from `values` and `reasons` or, when `decoding`, into them. */
  code(model: FrameModel, values: Float64Array, reasons: Uint8Array, decoding: boolean): void {
    this.#model = model;
    this.#values = values;
    this.#reasons = reasons;
    this.#decoding = decoding;
    if (decoding) values.fill(Number.NaN);
    const changed = model.flag(this.#coder, 0, decoding || !this.#reasonsChanged() ? 0 : 1) === 1;
    for (let column = 0; column < model.columnCount; column += 1) {
      if (changed) this.#reason(column);
      const reason = model.reasons[column] ?? 0;
      if (decoding) reasons[column] = reason;
      if (reason !== 0) continue;
      if (this.#gauge[column] === 1) this.#gaugeColumn(column);
      else this.#counterColumn(column);
    }
  }

  #reasonsChanged(): boolean {
    for (let column = 0; column < this.#model.columnCount; column += 1) {
      if (this.#reasonToSend(column) !== this.#model.reasons[column]) return true;
    }
    return false;
  }

  /** A value that claims to be present but is not a number is absent by error. */
  #reasonToSend(column: number): number {
    const reason = this.#reasons[column] ?? REASON_ERROR;
    if (reason >= absentReasons.length) return REASON_ERROR;
    const last = this.#values[column * windowStatistics + LAST];
    return reason === 0 && !Number.isFinite(last) ? REASON_ERROR : reason;
  }

  #reason(column: number): void {
    const coder = this.#coder;
    const before = this.#model.reasons[column] ?? 0;
    const wanted = this.#decoding ? before : this.#reasonToSend(column);
    if (this.#model.flag(coder, 1, wanted === before ? 0 : 1) === 0) return;
    const high = coder.fairBit(wanted >> 2);
    const middle = coder.fairBit((wanted >> 1) & 1);
    const reason = (high << 2) | (middle << 1) | coder.fairBit(wanted & 1);
    if (reason >= absentReasons.length) throw outOfRange('reason');
    this.#model.reasons[column] = reason;
  }

  #counterColumn(column: number): void {
    const model = this.#model;
    const at = column * windowStatistics + LAST;
    const last = model.last[column] ?? 0;
    const quiet = !this.#decoding && this.#quantised(at) === last ? 1 : 0;
    if (model.quiet(this.#coder, column, quiet) === 1) {
      if (this.#decoding) this.#values[at] = this.#restored(at, last);
      return;
    }
    if (!model.see(column)) {
      model.last[column] = this.#value(role.first, at, FIRST_SIZE, 0);
      return;
    }
    const drifted = last + Math.round(model.drift[column] ?? 0);
    const value = this.#value(role.counter, at, LEARNED, Math.abs(drifted) <= MAX_QUANTISED ? drifted : last);
    model.learnDrift(column, value - last);
    model.last[column] = value;
  }

  #gaugeColumn(column: number): void {
    const model = this.#model;
    const at = column * windowStatistics;
    const before = model.last[column] ?? 0;
    const quiet = !this.#decoding && this.#standsAt(at, before) ? 1 : 0;
    if (model.quiet(this.#coder, column, quiet) === 1) {
      if (this.#decoding) this.#values.fill(this.#restored(at, before), at, at + windowStatistics);
      return;
    }
    const seen = model.see(column);
    const last = this.#value(seen ? role.last : role.first, at + LAST, seen ? LEARNED : FIRST_SIZE, before);
    const near = seen ? before : last;
    const size = seen ? LEARNED : 0;
    const max = this.#value(role.max, at + MAX, size, Math.max(near, last));
    const min = this.#value(role.min, at + MIN, size, Math.min(near, last));
    const spread = bitLength(max - min) - 2;
    this.#value(role.mean, at + MEAN, Math.max(spread, 0), Math.round((min + max) / 2));
    model.last[column] = last;
  }

  /** Whether all four statistics of the gauge at `at` equal one value. */
  #standsAt(at: number, value: number): boolean {
    for (let place = at; place < at + windowStatistics; place += 1) {
      if (this.#quantised(place) !== value) return false;
    }
    return true;
  }

  /** Codes the value at `at` as its distance from `expected`; returns its integer, 0 if it travels as a double. */
  #value(which: Role, at: number, size: number, expected: number): number {
    let distance = 0;
    if (!this.#decoding) {
      const value = this.#quantised(at);
      distance = Math.abs(value) <= MAX_QUANTISED ? value - expected : Number.NaN;
    }
    distance = this.#model.integer(this.#coder, which, at, size, distance);
    if (Number.isNaN(distance)) {
      const value = codeDouble(
        this.#coder,
        this.#words,
        this.#double,
        this.#decoding ? 0 : this.#statistic(at),
      );
      if (!Number.isFinite(value)) throw outOfRange('value');
      if (this.#decoding) this.#values[at] = value;
      return 0;
    }
    const value = expected + distance;
    if (this.#decoding) {
      if (Math.abs(value) > MAX_QUANTISED) throw outOfRange('value');
      this.#values[at] = this.#restored(at, value);
    }
    return value;
  }

  /** One statistic of a present column; the last value where the window lacks it. */
  #statistic(at: number): number {
    const value = this.#values[at] ?? 0;
    return Number.isFinite(value) ? value : (this.#values[at | LAST] ?? 0);
  }

  #quantised(at: number): number {
    const column = at >> 2;
    return Math.round((this.#statistic(at) * (this.#divisor[column] ?? 1)) / (this.#factor[column] ?? 1));
  }

  #restored(at: number, value: number): number {
    const column = at >> 2;
    return (value / (this.#divisor[column] ?? 1)) * (this.#factor[column] ?? 1);
  }
}

export function outOfRange(field: string): Fault {
  return new Fault('LINK_FRAME_RANGE', `telemetry frame carries an impossible ${field}`, { field });
}
