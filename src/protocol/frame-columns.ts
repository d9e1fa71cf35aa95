// The columns of a telemetry frame: one description of the format for both directions, see frame.ts for the format
// itself. Encoding, values are read from a window; decoding, they are written into a fresh one.
import { crc32 } from 'node:zlib';
import { Fault } from '../base/fault.ts';
import type { Column, ColumnFamilyName } from './columns.ts';
import { absentReasons, columnFamilies, statistic, windowStatistics } from './columns.ts';
import type { Role } from './frame-model.ts';
import { bitLength, codeDouble, FrameModel, role } from './frame-model.ts';
import type { BitCoder } from './range-coder.ts';

/** Largest quantised value; the distance between two of them is still an exact double. */
const MAX_QUANTISED = 2 ** 52;
/** Largest integer of a column that serves to expect another. */
const MAX_GUIDED = 2 ** 50;
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
  /** Number of the list of usual values of each column, or -1. */
  readonly #list: Int8Array;
  /** Place of a column that moves with this one and comes before it, or -1; and in which direction. */
  readonly #guide: Int32Array;
  readonly #sign: Int8Array;
  readonly #double = new Float64Array(1);
  readonly #words: Uint32Array;
  // Of the frame in work.
  readonly #before: Float64Array;
  #coder: BitCoder;
  #model: FrameModel;
  #values: Float64Array;
  #reasons: Uint8Array;
  #decoding = false;

  constructor(generation: number, columns: readonly Column[], coder: BitCoder) {
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
    this.#before = new Float64Array(columns.length);
    this.#words = new Uint32Array(this.#double.buffer);
    this.#coder = coder;
    this.#list = listsOf(columns);
    const guided = columns.map((_, at) => guideOf(columns, at));
    this.#guide = Int32Array.from(guided, ({ at }) => at);
    this.#sign = Int8Array.from(guided, ({ sign }) => sign);
    this.#model = this.createModel();
    this.#values = this.#double;
    this.#reasons = new Uint8Array(0);
  }

  createModel(): FrameModel {
    return new FrameModel(
      this.columns.length,
      this.#list.reduce((most, list) => Math.max(most, list + 1), 0),
    );
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
    const reason = coder.fairBits(3, wanted);
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
    this.#before[column] = before;
    const quiet = !this.#decoding && this.#standsAt(at, before) ? 1 : 0;
    if (model.quiet(this.#coder, column, quiet) === 1) {
      if (this.#decoding) this.#values.fill(this.#restored(at, before), at, at + windowStatistics);
      return;
    }
    model.last[column] = model.see(column) ? this.#nextGauge(column, at, before) : this.#firstGauge(at);
  }

  #firstGauge(at: number): number {
    const last = this.#value(role.first, at + LAST, FIRST_SIZE, 0);
    const max = this.#value(role.max, at + MAX, 0, last);
    const min = this.#value(role.min, at + MIN, 0, last);
    this.#mean(at, min, max);
    return last;
  }

  #nextGauge(column: number, at: number, before: number): number {
    if (this.#isGuided(column, before)) {
      const other = this.#guide[column] ?? 0;
      const sign = this.#sign[column] ?? 1;
      const from = this.#quantised(other + LAST);
      const step = sign * (from - (this.#before[other >> 2] ?? 0));
      const last = this.#value(role.guided, at + LAST, LEARNED, before + step);
      const top = sign > 0 ? MAX : MIN;
      const bottom = sign > 0 ? MIN : MAX;
      this.#value(role.guided, at + MAX, LEARNED, last + sign * (this.#quantised(other + top) - from));
      this.#value(role.guided, at + MIN, LEARNED, last + sign * (this.#quantised(other + bottom) - from));
      this.#value(role.guided, at + MEAN, LEARNED, last + sign * (this.#quantised(other + MEAN) - from));
      return last;
    }
    const list = this.#list[column] ?? -1;
    const last = this.#listed(list, role.last, at + LAST, before);
    const max = this.#listed(list, role.max, at + MAX, Math.max(before, last));
    const min = this.#listed(list, role.min, at + MIN, Math.min(before, last));
    this.#mean(at, min, max);
    return last;
  }

  #mean(at: number, min: number, max: number): void {
    const spread = bitLength(max - min) - 2;
    this.#value(role.mean, at + MEAN, Math.max(spread, 0), Math.round((min + max) / 2));
  }

  /** Whether another column says what to expect of this one: it is there, present and of ordinary size. */
  #isGuided(column: number, before: number): boolean {
    const other = this.#guide[column] ?? -1;
    if (other < 0 || this.#model.reasons[other >> 2] !== 0 || Math.abs(before) > MAX_GUIDED) return false;
    if (Math.abs(this.#before[other >> 2] ?? 0) > MAX_GUIDED) return false;
    for (let at = other; at < other + windowStatistics; at += 1) {
      if (Math.abs(this.#quantised(at)) > MAX_GUIDED) return false;
    }
    return true;
  }

  /** As `value`, for a family whose values may be among a few usual ones. */
  #listed(list: number, which: Role, at: number, expected: number): number {
    if (list < 0) return this.#value(which, at, LEARNED, expected);
    const usual = this.#model.usual(this.#coder, list, which, this.#decoding ? 0 : this.#quantised(at));
    if (!Number.isNaN(usual)) {
      if (this.#decoding) this.#values[at] = this.#restored(at, usual);
      return usual;
    }
    const value = this.#value(which, at, LEARNED, expected);
    this.#model.addUsual(list, value);
    return value;
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

interface Guide {
  readonly family: ColumnFamilyName;
  readonly sign: 1 | -1;
}

/** Memory that is taken is no longer available, nor, mostly, free: of these families one tells much of the other. */
const guides: Partial<Record<ColumnFamilyName, readonly Guide[]>> = {
  'memory.usedBytes': [{ family: 'memory.availableBytes', sign: -1 }],
  'memory.availableBytes': [
    { family: 'memory.usedBytes', sign: -1 },
    { family: 'memory.freeBytes', sign: 1 },
  ],
  'memory.freeBytes': [{ family: 'memory.availableBytes', sign: 1 }],
};

/** The guide of a column: the first in the list that comes before it. */
function guideOf(columns: readonly Column[], at: number): { at: number; sign: 1 | -1 } {
  const { family, owner } = columns[at] ?? {};
  for (const guide of family === undefined ? [] : (guides[family] ?? [])) {
    const other = columns.findIndex((each) => each.family === guide.family && each.owner === owner);
    if (other >= 0 && other < at) return { at: other * windowStatistics, sign: guide.sign };
  }
  return { at: -1, sign: 1 };
}

/** Shares read from ticks of the system's clock take few values; the columns of such a family share a list. */
function listsOf(columns: readonly Column[]): Int8Array {
  const families: ColumnFamilyName[] = [];
  return Int8Array.from(columns, ({ family }) => {
    if (columnFamilies[family].unit !== 'ratio' || columnFamilies[family].kind !== 'gauge') return -1;
    if (!families.includes(family)) families.push(family);
    return families.indexOf(family);
  });
}

export function outOfRange(field: string): Fault {
  return new Fault('LINK_FRAME_RANGE', `telemetry frame carries an impossible ${field}`, { field });
}
