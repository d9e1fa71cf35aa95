// Columns that are computed in TypeScript from other columns of the same window: peaks that are available, achieved
// rates, energy. A derivation says which columns it adds once it has seen those that there are, and fills them in
// every window. telemetry/derived-row.ts has the windows; it does not know what is computed.
import {
  type AbsentReason,
  absentReasons,
  type Column,
  type ColumnFamilyName,
  type ColumnOwner,
  statistic,
  windowStatistics,
} from '../protocol/columns.ts';

/** Place of a column in the window, -1 where there is none. */
export type FindColumn = (family: ColumnFamilyName, owner: ColumnOwner, label?: string) => number;

/** A window in the making; derived columns stand behind those that they are computed from. */
export interface DerivationWindow {
  readonly values: Float64Array;
  readonly reasons: Uint8Array;
  /** Columns before this one are read in every tick; those behind it say what they said last. */
  readonly slowFrom: number;
  readonly durationMs: number;
}

export interface Derivation {
  /** Called for every new list of columns; returns those that it adds to it. */
  bind(find: FindColumn): readonly Column[];
  /** Hot: every window. Fills its columns from place `from` on, in the order of `bind`. */
  write(window: DerivationWindow, from: number): void;
}

export interface DerivationSource {
  /** Another number whenever `list` is another one. */
  revision(): number;
  list(): readonly Derivation[];
}

const PRESENT = 0;

/** Mean of a gauge over the window; NaN where it is absent or there is no such column. */
export function meanAt({ values, reasons }: DerivationWindow, place: number): number {
  if (place < 0 || reasons[place] !== PRESENT) return Number.NaN;
  return values[place * windowStatistics + statistic.mean] ?? Number.NaN;
}

export function lastAt({ values, reasons }: DerivationWindow, place: number): number {
  if (place < 0 || reasons[place] !== PRESENT) return Number.NaN;
  return values[place * windowStatistics + statistic.last] ?? Number.NaN;
}

/** Why the column is absent; `unsupported` where there is none. */
export function reasonAt({ reasons }: DerivationWindow, place: number): AbsentReason {
  return place < 0 ? 'unsupported' : (absentReasons[reasons[place] ?? 0] ?? 'error');
}

/** Sets a column whose value is one number for the whole window; NaN is absent for `reason`. */
export function put(
  { values, reasons }: DerivationWindow,
  place: number,
  isCounter: boolean,
  value: number,
  reason: AbsentReason,
): void {
  const at = place * windowStatistics;
  const isPresent = Number.isFinite(value);
  values.fill(isPresent && !isCounter ? value : Number.NaN, at, at + windowStatistics);
  if (isPresent) values[at + statistic.last] = value;
  reasons[place] = absentReasons.indexOf(isPresent ? 'present' : reason === 'present' ? 'error' : reason);
}
