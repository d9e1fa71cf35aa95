// NVIDIA peaks of products that are in no table: multiprocessors × rate × clock, by compute capability. Rates are
// FLOP per clock and multiprocessor, dense, a fused multiply-add counted as two (reference/peak-flops.md, section 1).
// Two things neither capability nor clock reveal, so names are looked at: tensor units that accumulate in FP32 at
// half rate, and export parts, for which no formula holds.
import type { Precision } from '../../protocol/device.ts';
import type { ComputeFacts } from '../accelerator.ts';
import table from './nvidia.json' with { type: 'json' };
import type { FormulaPeak, PeakVendor } from './vendor.ts';

interface Rates extends Readonly<Partial<Record<Precision, number>>> {
  readonly lanes: number;
  readonly fp64Tensor?: number;
  readonly fp16Vector?: number;
  /** Multiprocessors of the smallest partition; larger ones have whole multiples. */
  readonly slice?: number;
}

// biome-ignore format: a table, one compute capability a line
export const ratesByCapability: Readonly<Record<string, Rates>> = {
  '7.0':  { lanes: 64,  fp64: 64,  fp32: 128, fp16Vector: 256, fp16: 1024 },
  '7.5':  { lanes: 64,  fp64: 4,   fp32: 128, fp16Vector: 256, fp16: 1024, int8: 2048 },
  '8.0':  { lanes: 64,  fp64: 64,  fp32: 128, fp16Vector: 512, fp64Tensor: 128, tf32: 1024, bf16: 2048, fp16: 2048, int8: 4096, slice: 14 },
  '8.6':  { lanes: 128, fp64: 4,   fp32: 256, fp16Vector: 256, tf32: 512,  bf16: 1024, fp16: 1024, int8: 2048 },
  '8.7':  { lanes: 128, fp64: 4,   fp32: 256, fp16Vector: 512, tf32: 1024, bf16: 2048, fp16: 2048, int8: 4096 },
  '8.9':  { lanes: 128, fp64: 4,   fp32: 256, fp16Vector: 256, tf32: 512,  bf16: 1024, fp16: 1024, fp8: 2048,  int8: 2048 },
  '9.0':  { lanes: 128, fp64: 128, fp32: 256, fp16Vector: 512, fp64Tensor: 256, tf32: 2048, bf16: 4096, fp16: 4096, fp8: 8192,  int8: 8192, slice: 16 },
  '10.0': { lanes: 128, fp64: 128, fp32: 256, fp64Tensor: 128, tf32: 4096, bf16: 8192, fp16: 8192, fp8: 16384, int8: 16384 },
  '10.3': { lanes: 128, fp64: 4,   fp32: 256, fp64Tensor: 4,   tf32: 4096, bf16: 8192, fp16: 8192, fp8: 16384, int8: 512 },
  '12.0': { lanes: 128, fp64: 4,   fp32: 256, fp16Vector: 256, tf32: 512,  bf16: 1024, fp16: 1024, fp8: 2048,  int8: 2048 },
};

/** From Hopper on tensor figures are quoted at a clock that is lower by about this factor. */
const TENSOR_CLOCK_RATIO = 0.92;
const QUOTED_LOWER_FROM = 9;

const halfRate = /GeForce|\bL40\b|\bL20\b|\bA10G\b/i;
/** Of the half-rate parts those whose integer rate is halved with it. */
const halfInteger = /\bL40\b|\bL20\b|\bA10G\b/i;
/** A share of a device under a hypervisor: `A40-8Q`, `GRID A100-3-20C`, `H100-1-12CME`. */
const virtual = /[A-Z]\d*(?: PCIe| NVL)?-(?:\d{1,2}-)?\d{1,3}[ABCQ](?:ME)?$/i;
/** No tensor units, though the capability has them. */
const withoutTensor = /\bGTX\b/i;
// Those for mining (CMP) are cut as well.
const exportPart = /\b(?:A800|H800|H30|H20(?!0)\w*|CMP|B20|B30A?|L20|L2)\b|RTX (?:PRO )?\d{4} ?D\b/i;

const tensorPrecisions = ['tf32', 'bf16', 'fp16', 'fp8', 'int8'] as const;

function formula(name: string, facts: ComputeFacts): FormulaPeak | string {
  if (exportPart.test(name))
    return 'an export part that is in no table, and the formula does not hold for those';
  const { computeCapability, lanes, units, maxClockHertz } = facts;
  if (maxClockHertz === null) return 'it is in no table and its highest clock is not known';
  const rates = computeCapability === null ? undefined : ratesByCapability[computeCapability];
  const megahertz = Math.round(maxClockHertz / 1e6);
  if (rates === undefined) {
    if (lanes === null)
      return 'it is in no table, and its compute capability or number of lanes is not known';
    const why = computeCapability === null ? 'is not known' : `${computeCapability} has no rates here`;
    return {
      flops: { fp32: lanes * 2 * maxClockHertz },
      vectorClockHertz: maxClockHertz,
      tensorClockHertz: maxClockHertz,
      units,
      text: `${lanes} lanes × 2 × ${megahertz} MHz; FP32 alone, since its compute capability ${why}`,
    };
  }
  const count = units ?? (lanes === null ? null : lanes / rates.lanes);
  if (count === null) return 'it is in no table and its number of multiprocessors is not known';
  const isQuotedLower = Number.parseFloat(computeCapability ?? '') >= QUOTED_LOWER_FROM;
  const tensorClockHertz = maxClockHertz * (isQuotedLower ? TENSOR_CLOCK_RATIO : 1);
  const flops: Partial<Record<Precision, number>> = {};
  if (rates.fp64 !== undefined) flops.fp64 = count * rates.fp64 * maxClockHertz;
  flops.fp32 = (lanes ?? count * rates.lanes) * 2 * maxClockHertz;
  for (const each of tensorPrecisions) {
    const rate = rates[each];
    if (rate === undefined || withoutTensor.test(name)) continue;
    const isHalf = (each === 'int8' ? halfInteger : halfRate).test(name);
    flops[each] = count * rate * (isHalf ? 0.5 : 1) * tensorClockHertz;
  }
  const tensorText = isQuotedLower ? `, tensor figures at ${TENSOR_CLOCK_RATIO} of that clock` : '';
  const halfText = halfRate.test(name) ? ', tensor units at half rate' : '';
  return {
    flops,
    fp64Tensor: rates.fp64Tensor === undefined ? null : count * rates.fp64Tensor * maxClockHertz,
    fp16Vector: rates.fp16Vector === undefined ? null : count * rates.fp16Vector * maxClockHertz,
    vectorClockHertz: maxClockHertz,
    tensorClockHertz,
    units: count,
    text: `${count} multiprocessors × rates of compute capability ${computeCapability} × ${megahertz} MHz${tensorText}${halfText}; the highest clock may lie above the one of data sheets`,
  };
}

/** `3g.40gb` on a part whose slices are known; the largest partition may have more than its slices. */
function partitionUnits(
  profile: string,
  computeCapability: string | null,
  wholeUnits: number,
): number | null {
  const slices = Number(/^(?:MIG )?(\d{1,2})g\./i.exec(profile)?.[1] ?? Number.NaN);
  const slice = ratesByCapability[computeCapability ?? '']?.slice;
  if (!Number.isFinite(slices) || slices === 0 || slice === undefined) return null;
  return Math.min(wholeUnits, slices * slice);
}

export const nvidiaPeaks: PeakVendor = {
  table,
  plainName: (name) => name.replace(/\s+MIG\b.*$/i, ''),
  refusal: (name) =>
    virtual.test(name) ? 'a virtual GPU, and which share of the device it may use is not told' : null,
  formula,
  partitionUnits,
  unitsWord: 'multiprocessors',
  busyIsUnits: false,
};
