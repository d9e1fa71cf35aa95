// The peak tables as data, one JSON file per vendor, and how a product is found in one. A row:
//   match             regular expression, tried on the product's plain name without regard to case; at most one row
//                     of a file matches a name
//   memoryBelowGb     the row holds only for devices with less memory: one name, two generations
//   exactUnits        the row holds only for devices with as many `units`, where they tell them: one name, two cuts,
//                     or a partition that goes by the name of the whole
//   teraFlops         dense peaks in 10^12 FLOP/s (INT8: operations); a precision that is not named is unknown
//   computed          those of them that are units × rate × clock because no figure is published
//   fp64Tensor, fp16Vector, cube   parts of the peak beside the seven precisions, for the achieved rate
//   units, clockMhz, tensorClockMhz   what the figures stand for; the tensor clock where it is another
//   deviationPercent  of units × rate × clock at `clockMhz` from the published figure
//   source, confidence   where the figures come from and how far to trust them
import type { Precision } from '../../protocol/device.ts';

export interface PeakRow {
  readonly name: string;
  readonly match: string;
  readonly memoryBelowGb?: number;
  readonly exactUnits?: boolean;
  readonly teraFlops: Readonly<Partial<Record<Precision, number>>>;
  readonly computed?: readonly string[];
  readonly fp64Tensor?: number;
  readonly fp16Vector?: number;
  readonly cube?: number;
  readonly computeCapability?: string;
  readonly units?: number;
  readonly clockMhz?: number;
  readonly tensorClockMhz?: number;
  /** Tensor units accumulate in FP32 at half their rate. */
  readonly halfRate?: boolean;
  readonly deviationPercent?: Readonly<Partial<Record<Precision, number>>>;
  readonly source: string;
  readonly confidence: string;
}

export interface PeakTable {
  readonly rows: readonly PeakRow[];
}

const GIB = 1024 ** 3;

export interface RowQuery {
  readonly memoryTotalBytes: number | null;
  readonly units: number | null;
}

/** The row of a product; in words how one of its name differs from it; null where there is none of its name. */
export function findRow(
  { rows }: PeakTable,
  plainName: string,
  { memoryTotalBytes, units }: RowQuery,
): PeakRow | string | null {
  const named = rows.filter(({ match }) => new RegExp(match, 'i').test(plainName));
  const small = named.filter(
    ({ memoryBelowGb }) =>
      memoryBelowGb === undefined || memoryTotalBytes === null || memoryTotalBytes < memoryBelowGb * GIB,
  );
  const fitting = small.find(
    (row) => row.exactUnits !== true || row.units === undefined || units === null || row.units === units,
  );
  if (fitting !== undefined || named.length === 0) return fitting ?? null;
  return small.length === 0 ? 'less memory than this one' : 'another number of units than this one';
}
