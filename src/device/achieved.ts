// The rate that a device achieves, as a nominal value within a band. By the method, best first:
//
//   gpm       hardware counters of the pipes: share of active cycles × peak × clock, pipe by pipe. Which precision the
//             matrix pipe works in is not seen: low takes TF32 for it, nominal BF16, high FP8. A vector pipe counts
//             instructions: low takes none of them for a multiply-add, high all.
//   aicube    busy share of the matrix units × their peak × clock, and of the vector units where it is told. An upper
//             bound for FP16: busy is not full. Low takes FP32, which runs at a quarter.
//   aicore    as aicube from the busy share of the cores, whichever of their units worked.
//   estimate  the busy share tells only that something ran: anything from nothing to busy × peak × clock. The nominal
//             value is the middle, which is at most half the band wrong; never to be taken for a measurement.
import type { AbsentReason } from '../protocol/columns.ts';
import { type DerivationWindow, type FindColumn, meanAt, reasonAt } from './derivation.ts';
import type { Peak } from './peak/peak.ts';

export type AchievedMethod = 'gpm' | 'aicube' | 'aicore' | 'estimate';

export interface Band {
  nominal: number;
  low: number;
  high: number;
}

export interface AchievedOptions {
  readonly slot: number;
  /** The device that a partition is cut from: it shares its clock. */
  readonly parentSlot: number | null;
  readonly peak: Peak;
  /** Highest clock of the device, for peaks that do not say which clock they stand for. */
  readonly maxClockHertz: number | null;
  /** The vendor's busy share is that of the units that the peak is made of. */
  readonly busyIsUnits: boolean;
}

export interface Achieved {
  readonly method: AchievedMethod;
  /** Hot: every window. Fills `band`, or returns why it cannot be told. */
  measure(window: DerivationWindow, band: Band): AbsentReason;
}

const MATRIX_SLOWEST = 1 / 4;
/** Share of a vector pipe's peak that its instructions are taken for: none, some or all are multiply-adds. */
const VECTOR = { low: 0.5, nominal: 0.75, high: 1 } as const;

/** Null where the device has nothing to tell it by, or no known peak. */
export function createAchieved(options: AchievedOptions, find: FindColumn): Achieved | null {
  const { slot, peak, busyIsUnits } = options;
  const { bf16, fp16, tf32, fp32 } = peak.peakFlops;
  const matrix = bf16 ?? fp16;
  const at = (family: 'pipeActiveRatio' | 'engineBusyRatio', label: string): number =>
    find(`accelerator.${family}`, slot, label);
  const busyAt = find('accelerator.busyRatio', slot);
  const hasPipes = ['tensor', 'tensorHmma'].some((pipe) => at('pipeActiveRatio', pipe) >= 0);
  if (hasPipes && matrix !== null) return byPipes(options, matrix, find);
  const cube = peak.cube ?? matrix;
  const cubeAt = at('engineBusyRatio', 'cube');
  if (cubeAt >= 0 && cube !== null) return byCube(options, cube, cubeAt, find);
  if (busyAt >= 0 && busyIsUnits && cube !== null) return byCores(options, cube, busyAt, find);
  const best = matrix ?? tf32 ?? fp32;
  return busyAt >= 0 && best !== null ? byBusyTime(options, best, busyAt, find) : null;
}

const clamp = (ratio: number): number => Math.min(1, Math.max(0, ratio));
/** A share, or none where it is absent. */
const share = (window: DerivationWindow, place: number): number => {
  const value = meanAt(window, place);
  return Number.isNaN(value) ? 0 : clamp(value);
};

/** Place of the device's clock, a partition's being that of its device. */
function clockPlace({ slot, parentSlot }: AchievedOptions, find: FindColumn): number {
  const own = find('accelerator.clockHertz', slot);
  return own < 0 && parentSlot !== null ? find('accelerator.clockHertz', parentSlot) : own;
}

function byPipes(options: AchievedOptions, matrixPeak: number, find: FindColumn): Achieved {
  const { slot, peak, maxClockHertz } = options;
  const { fp64, fp32, tf32, fp8 } = peak.peakFlops;
  const pipe = (label: string): number => find('accelerator.pipeActiveRatio', slot, label);
  const [any, half, integer] = [pipe('tensor'), pipe('tensorHmma'), pipe('tensorImma')];
  const [double, doubleToo] = [pipe('tensorDmma'), pipe('tensorDfma')];
  const [pipe64, pipe32, pipe16] = [pipe('fp64'), pipe('fp32'), pipe('fp16')];
  const clockAt = clockPlace(options, find);
  const tensorClock = peak.tensorClockHertz ?? maxClockHertz;
  const vectorClock = peak.vectorClockHertz ?? maxClockHertz;
  const slowest = tf32 ?? matrixPeak;
  const fastest = fp8 ?? matrixPeak;
  const fp64Tensor = peak.fp64Tensor ?? fp64 ?? 0;
  const fp16Vector = peak.fp16Vector ?? 0;
  return {
    method: 'gpm',
    measure(window, band) {
      const active = meanAt(window, any);
      const byHalf = meanAt(window, half);
      if (Number.isNaN(active) && Number.isNaN(byHalf)) return reasonAt(window, any >= 0 ? any : half);
      const clock = meanAt(window, clockAt);
      if (Number.isNaN(clock)) return reasonAt(window, clockAt);
      if (tensorClock === null || vectorClock === null) return 'unsupported';
      const wide = Math.max(share(window, double), share(window, doubleToo));
      // Of the time that any matrix pipe worked, what no pipe of its own accounts for: nobody knows its precision.
      const others = (Number.isNaN(byHalf) ? 0 : clamp(byHalf)) + share(window, integer) + wide;
      const rest = Number.isNaN(active) ? 0 : Math.max(0, clamp(active) - others);
      const known = Number.isNaN(byHalf) ? rest : clamp(byHalf);
      const unknown = Number.isNaN(byHalf) ? 0 : rest;
      const ofMatrix = clock / tensorClock;
      const ofVector = clock / vectorClock;
      const fixed = wide * fp64Tensor * ofVector;
      const vector =
        (share(window, pipe64) * (fp64 ?? 0) +
          share(window, pipe32) * (fp32 ?? 0) +
          share(window, pipe16) * fp16Vector) *
        ofVector;
      band.low = known * slowest * ofMatrix + fixed + vector * VECTOR.low;
      band.nominal = (known + unknown) * matrixPeak * ofMatrix + fixed + vector * VECTOR.nominal;
      band.high = (known + unknown) * fastest * ofMatrix + fixed + vector * VECTOR.high;
      return 'present';
    },
  };
}

/** Present clock as a share of the one that the peak stands for; 1 where either is unknown: the rate is a bound. */
function clockRatio(
  { peak, maxClockHertz }: AchievedOptions,
  window: DerivationWindow,
  clockAt: number,
): number {
  const ratio = meanAt(window, clockAt) / (peak.tensorClockHertz ?? maxClockHertz ?? Number.NaN);
  return Number.isFinite(ratio) ? ratio : 1;
}

/** How much faster than FP16 the fastest floating-point precision of the matrix units is. */
function fastestOver({ peak }: AchievedOptions, cube: number): number {
  return Math.max(1, (peak.peakFlops.fp8 ?? cube) / cube);
}

function byCube(options: AchievedOptions, cube: number, cubeAt: number, find: FindColumn): Achieved {
  const vectorAt = find('accelerator.engineBusyRatio', options.slot, 'vector');
  const clockAt = clockPlace(options, find);
  const vectorPeak = options.peak.fp16Vector ?? 0;
  const fastest = fastestOver(options, cube);
  return {
    method: 'aicube',
    measure(window, band) {
      const busy = meanAt(window, cubeAt);
      if (Number.isNaN(busy)) return reasonAt(window, cubeAt);
      const ratio = clockRatio(options, window, clockAt);
      const matrix = clamp(busy) * cube * ratio;
      const vector = share(window, vectorAt) * vectorPeak * ratio;
      band.low = matrix * MATRIX_SLOWEST + vector * VECTOR.low;
      band.nominal = matrix + vector;
      band.high = matrix * fastest + vector;
      return 'present';
    },
  };
}

function byCores(options: AchievedOptions, cube: number, busyAt: number, find: FindColumn): Achieved {
  const clockAt = clockPlace(options, find);
  const { fp16Vector, peakFlops } = options.peak;
  const fastest = Math.max(cube * fastestOver(options, cube), peakFlops.fp16 ?? 0);
  return {
    method: 'aicore',
    measure(window, band) {
      const busy = meanAt(window, busyAt);
      if (Number.isNaN(busy)) return reasonAt(window, busyAt);
      const ratio = clamp(busy) * clockRatio(options, window, clockAt);
      band.low = ratio * (fp16Vector ?? 0) * VECTOR.low;
      band.nominal = ratio * cube;
      band.high = ratio * fastest;
      return 'present';
    },
  };
}

function byBusyTime(options: AchievedOptions, best: number, busyAt: number, find: FindColumn): Achieved {
  const clockAt = clockPlace(options, find);
  return {
    method: 'estimate',
    measure(window, band) {
      const busy = meanAt(window, busyAt);
      if (Number.isNaN(busy)) return reasonAt(window, busyAt);
      band.low = 0;
      band.high = clamp(busy) * best * clockRatio(options, window, clockAt);
      band.nominal = band.high / 2;
      return 'present';
    },
  };
}

const throttles = ['powerCap', 'hwSlowdown', 'swThermal', 'hwThermal', 'powerBrake', 'syncBoost'] as const;

/**
 * The share of its peak that a device offers: while something holds its clock back, the present clock over the one
 * that the peak stands for; a low clock alone means that it idles. Nothing where it takes no jobs.
 */
export function createAvailable(
  options: AchievedOptions,
  find: FindColumn,
): (window: DerivationWindow, takesJobs: boolean, band: Band) => AbsentReason {
  const { slot, parentSlot, peak, maxClockHertz } = options;
  const placesOf = (owner: number): number[] =>
    throttles.map((label) => find('accelerator.throttledRatio', owner, label)).filter((place) => place >= 0);
  const own = placesOf(slot);
  const places = own.length === 0 && parentSlot !== null ? placesOf(parentSlot) : own;
  const clockAt = clockPlace(options, find);
  const full = peak.tensorClockHertz ?? peak.vectorClockHertz ?? maxClockHertz;
  return (window, takesJobs, band) => {
    band.nominal = 0;
    if (!takesJobs) return 'present';
    band.nominal = 1;
    if (places.length === 0) return 'present';
    let held = Number.NaN;
    for (const place of places) {
      const ratio = meanAt(window, place);
      if (!Number.isNaN(ratio) && !(held >= ratio)) held = ratio;
    }
    if (Number.isNaN(held)) return reasonAt(window, places[0] ?? -1);
    if (held <= 0) return 'present';
    const clock = meanAt(window, clockAt);
    if (full === null) return 'unsupported';
    if (Number.isNaN(clock)) return reasonAt(window, clockAt);
    band.nominal = 1 - clamp(held) * (1 - clamp(clock / full));
    return 'present';
  };
}
