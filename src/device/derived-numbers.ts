// The derived columns of each device: energy, what it offers of its peak, what it achieves. One derivation per device,
// made anew when the device or its peak is another; the energy meter outlives it.
import type { AbsentReason, Column, ColumnFamilyName } from '../protocol/columns.ts';
import { type DeviceRecord, takesJobs } from '../protocol/device.ts';
import {
  type Achieved,
  type AchievedOptions,
  type Band,
  createAchieved,
  createAvailable,
} from './achieved.ts';
import { type Derivation, type DerivationSource, lastAt, meanAt, put, reasonAt } from './derivation.ts';
import type { EnergyMeter } from './energy.ts';
import { peakVendor } from './peak/catalogue.ts';
import type { RatedDevice } from './rating.ts';

export interface DerivedNumbersOptions {
  /** Peak and facts of a slot, null before it was rated. */
  rated(slot: number): RatedDevice | null;
  /** The meter of a device, the same one for the same device. */
  meter(record: DeviceRecord): EnergyMeter;
  wallMs(): number;
  /** Power that a tool told is held on for at most this long. */
  readonly holdMs: number;
}

export interface DerivedNumbers extends DerivationSource {
  /** The present records. */
  update(records: readonly DeviceRecord[]): void;
  achievedMethod(slot: number): DeviceRecord['achievedMethod'];
  energyMethod(slot: number): DeviceRecord['energyMethod'];
  /** Another number whenever a method is another one. */
  methodRevision(): number;
}

interface Part {
  readonly rated: RatedDevice;
  readonly parentSlot: number | null;
  readonly derivation: Derivation;
  readonly meter: EnergyMeter;
  record: DeviceRecord;
  achieved: Achieved | null;
}

export function createDerivedNumbers(options: DerivedNumbersOptions): DerivedNumbers {
  const parts = new Map<number, Part>();
  /** Methods as they were last told, by slot. */
  const told = new Map<number, { achieved: string | null; energy: DeviceRecord['energyMethod'] }>();
  const band: Band = { nominal: 0, low: 0, high: 0 };
  let list: readonly Derivation[] = [];
  let revision = 0;
  let methodRevision = 0;

  /** Hot: every window. */
  function tellMethods(slot: number, part: Part): void {
    const achieved = part.achieved?.method ?? null;
    const energy = part.meter.method();
    const before = told.get(slot);
    if (before?.achieved === achieved && before.energy === energy) return;
    told.set(slot, { achieved, energy });
    methodRevision += 1;
  }

  function createPart(record: DeviceRecord, rated: RatedDevice): Part {
    const { slot, parentSlot, vendor } = record;
    const achievedOptions: AchievedOptions = {
      slot,
      parentSlot,
      peak: rated.peak,
      maxClockHertz: rated.facts.maxClockHertz,
      busyIsUnits: peakVendor(vendor)?.busyIsUnits ?? false,
    };
    const meter = options.meter(record);
    let available: ReturnType<typeof createAvailable> = () => 'notYet';
    let [powerAt, counterAt] = [-1, -1];
    let hasEnergy = false;

    const part: Part = {
      rated,
      parentSlot,
      meter,
      record,
      achieved: null,
      derivation: {
        bind(find) {
          powerAt = find('accelerator.powerWatts', slot);
          counterAt = find('accelerator.energyCounterJoules', slot);
          hasEnergy = powerAt >= 0 || counterAt >= 0;
          available = createAvailable(achievedOptions, find);
          const achieved = createAchieved(achievedOptions, find);
          part.achieved = achieved;
          tellMethods(slot, part);
          const families: ColumnFamilyName[] = [
            ...(hasEnergy
              ? (['accelerator.energyJoulesTotal', 'accelerator.energyMeasuredRatio'] as const)
              : []),
            'accelerator.availableRatio',
            ...(achieved === null
              ? []
              : ([
                  'accelerator.achievedFlops',
                  'accelerator.achievedLowFlops',
                  'accelerator.achievedHighFlops',
                ] as const)),
          ];
          return families.map((family): Column => ({ family, owner: slot, label: null }));
        },
        write(window, from) {
          let place = from;
          if (hasEnergy) {
            const power = meanAt(window, powerAt);
            const counter = lastAt(window, counterAt);
            // A tool's last word is held on, but not over a time in which nobody could have asked it.
            const isHeldTooLong = powerAt >= window.slowFrom && window.durationMs > options.holdMs;
            const hasCounter = counterAt >= 0 && reasonAt(window, counterAt) !== 'unsupported';
            meter.observe(window.durationMs, counter, isHeldTooLong ? Number.NaN : power, hasCounter);
            tellMethods(slot, part);
            const reason = energyReason(reasonAt(window, powerAt), reasonAt(window, counterAt));
            put(window, place++, true, meter.joules(), reason);
            put(window, place++, false, meter.measuredRatio(), reason === 'present' ? 'notYet' : reason);
          }
          const why = available(window, takesJobs(part.record, options.wallMs()), band);
          put(window, place++, false, why === 'present' ? band.nominal : Number.NaN, why);
          if (part.achieved === null) return;
          const reason = part.achieved.measure(window, band);
          const isPresent = reason === 'present';
          put(window, place++, false, isPresent ? band.nominal : Number.NaN, reason);
          put(window, place++, false, isPresent ? band.low : Number.NaN, reason);
          put(window, place++, false, isPresent ? band.high : Number.NaN, reason);
        },
      },
    };
    return part;
  }

  return {
    revision: () => revision,
    list: () => list,
    update(records) {
      let changed = records.length !== parts.size;
      const slots = new Set<number>();
      for (const record of records) {
        const { slot, parentSlot } = record;
        slots.add(slot);
        const rated = options.rated(slot);
        const part = parts.get(slot);
        if (part !== undefined && part.rated === rated && part.parentSlot === parentSlot) {
          part.record = record;
          continue;
        }
        changed = true;
        if (rated !== null) parts.set(slot, createPart(record, rated));
      }
      for (const slot of parts.keys()) if (!slots.has(slot)) changed = parts.delete(slot) || changed;
      if (!changed) return;
      revision += 1;
      list = [...parts.values()].map(({ derivation }) => derivation);
    },
    achievedMethod: (slot) => parts.get(slot)?.achieved?.method ?? null,
    energyMethod: (slot) => parts.get(slot)?.meter.method() ?? null,
    methodRevision: () => methodRevision,
  };
}

/** Why there is no energy: what the counter says, unless the device has none and power is the one that is missed. */
function energyReason(power: AbsentReason, counter: AbsentReason): AbsentReason {
  if (power === 'present' || counter === 'present') return 'notYet';
  return counter === 'unsupported' ? power : counter;
}
