// What a device is: a source of numbers in fixed columns. A device never throws, logs or allocates in a tick; what
// it cannot read is absent (NaN) with a reason. Accelerators come through the bank (bank.ts); the host parts are read by the
// native reader in one crossing, and describe only their static facts and the few slow columns of their own.
import type { AbsentReason, Column } from '../protocol/columns.ts';

/** A value outside the native row, read at a slow pace and carried into each window. */
export interface SlowColumn {
  readonly column: Column;
  /** NaN when absent. */
  readonly value: number;
  readonly reason: AbsentReason;
}

/** A device that needs no native crossing: read every `periodMs`, outside the tick, with a deadline. */
export interface SlowDevice {
  readonly name: string;
  readonly periodMs: number;
  /** Never rejects. */
  read(): Promise<readonly SlowColumn[]>;
}
