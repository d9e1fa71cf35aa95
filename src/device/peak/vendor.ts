// What one vendor gives to find peaks: its table, and where the sheet knows one, a formula.
import type { Precision } from '../../protocol/device.ts';
import type { ComputeFacts } from '../accelerator.ts';
import type { PeakTable } from './table.ts';

export interface FormulaPeak {
  readonly flops: Readonly<Partial<Record<Precision, number>>>;
  readonly fp64Tensor?: number | null;
  readonly fp16Vector?: number | null;
  readonly cube?: number | null;
  readonly vectorClockHertz: number;
  readonly tensorClockHertz: number;
  readonly units: number | null;
  /** The formula with its numbers, for `peakSource`. */
  readonly text: string;
}

export interface PeakVendor {
  readonly table: PeakTable;
  /** The product's name without what its tools print around it. */
  plainName(name: string): string;
  /** In words why neither table nor formula may be asked for this product; null for most. */
  refusal?(plainName: string): string | null;
  /** By units, rate and clock, or in words why not. */
  formula?(plainName: string, facts: ComputeFacts): FormulaPeak | string;
  /** Units of a partition by its profile, where it does not tell them itself. */
  partitionUnits?(profile: string, computeCapability: string | null, wholeUnits: number): number | null;
  /** What `ComputeFacts.units` counts. */
  readonly unitsWord: string;
  /** The vendor's busy share is that of the units that the peak is made of, not of any kernel running. */
  readonly busyIsUnits: boolean;
}
