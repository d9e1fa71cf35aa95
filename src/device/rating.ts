// What the peaks, the achieved rate and the energy of a device are made from.
import type { FlopsByPrecision } from '../protocol/device.ts';
import type { Rate } from './census.ts';

const none: FlopsByPrecision = {
  fp64: null,
  fp32: null,
  tf32: null,
  bf16: null,
  fp16: null,
  fp8: null,
  int8: null,
};

export function rateDevice(_overrides: readonly never[]): Rate {
  return () => ({
    peakFlops: none,
    peakMethod: null,
    peakSource: 'no peak is known for this model',
    achievedMethod: null,
    energyMethod: null,
  });
}
