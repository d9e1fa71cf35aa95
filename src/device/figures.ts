// Everything about devices that is computed rather than read, in one piece: ratings for their records, derived columns
// for the windows. The two need each other: a rating names the methods of the columns, the columns need the peaks.
import type { Clock } from '../base/clock.ts';
import type { DeviceRecord } from '../protocol/device.ts';
import type { Rate } from './census.ts';
import type { DerivationSource } from './derivation.ts';
import { createDerivedNumbers } from './derived-numbers.ts';
import { createEnergyMeter, type EnergyMeter } from './energy.ts';
import type { PeakOverride } from './peak/peak.ts';
import { createRatings } from './rating.ts';

/** Windows that a tool's last word about power is held on for. */
const HELD_WINDOWS = 3;

export interface FiguresOptions {
  /** What the operator says of peaks (node.peakFlops), by device name or id in lower case. */
  readonly overrides: ReadonlyMap<string, PeakOverride>;
  /** The energy meter of a device, the same one for the same device. */
  meter(record: DeviceRecord): EnergyMeter;
  readonly clock: Clock;
  readonly windowMs: number;
}

export interface Figures {
  /** For the bank. */
  readonly rate: Rate;
  readonly ratingRevision: () => number;
  /** The bank's records are others now. */
  update(records: readonly DeviceRecord[]): void;
  /** For the sampler. */
  readonly derivations: DerivationSource;
}

export function createFigures({ overrides, meter, clock, windowMs }: FiguresOptions): Figures {
  const ratings = createRatings(overrides, {
    achieved: (slot) => numbers.achievedMethod(slot),
    energy: (slot) => numbers.energyMethod(slot),
  });
  const numbers = createDerivedNumbers({
    rated: (slot) => ratings.of(slot),
    meter,
    wallMs: () => clock.wallMs(),
    holdMs: HELD_WINDOWS * windowMs,
  });
  return {
    rate: ratings.rate,
    ratingRevision: () => numbers.methodRevision(),
    update: (records) => numbers.update(records),
    derivations: numbers,
  };
}

/**
 * Meters for a process that keeps no state and looks once: the device's own counter as it stands, and where there is
 * none the integral since the process began to look.
 */
export function createMeters(): (record: DeviceRecord) => EnergyMeter {
  const meters = new Map<string, EnergyMeter>();
  return ({ vendor, id }) => {
    const key = `${vendor}/${id}`;
    const known = meters.get(key) ?? createPlainMeter();
    meters.set(key, known);
    return known;
  };
}

function createPlainMeter(): EnergyMeter {
  const meter = createEnergyMeter(null);
  let counter = Number.NaN;
  return {
    ...meter,
    observe(durationMs, counterJoules, watts, hasCounter) {
      meter.observe(durationMs, counterJoules, watts, hasCounter);
      counter = hasCounter ? counterJoules : Number.NaN;
    },
    joules() {
      if (!Number.isNaN(counter)) return counter;
      // Nothing has been measured over no time.
      return Number.isNaN(meter.measuredRatio()) ? Number.NaN : meter.joules();
    },
  };
}
