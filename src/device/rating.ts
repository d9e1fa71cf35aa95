// What a device is rated with: its peaks, and by which method its achieved rate and its energy are told. Keeps the
// peak of each device for the columns that are derived from it.
import type { DeviceRecord } from '../protocol/device.ts';
import type { ComputeFacts } from './accelerator.ts';
import type { Rate } from './census.ts';
import { findPeak, overridden, type Peak, type PeakOverride } from './peak/peak.ts';

export interface RatedDevice {
  readonly peak: Peak;
  readonly facts: ComputeFacts;
}

/** Methods that are known once the columns of the device are. */
export interface Methods {
  achieved(slot: number): DeviceRecord['achievedMethod'];
  energy(slot: number): DeviceRecord['energyMethod'];
}

export interface Ratings {
  /** For the bank. */
  readonly rate: Rate;
  of(slot: number): RatedDevice | null;
}

/** `overrides`: what the operator says (node.peakFlops), by device name or id in lower case. */
export function createRatings(overrides: ReadonlyMap<string, PeakOverride>, methods: Methods): Ratings {
  const rated = new Map<number, RatedDevice>();
  const said = (word: string | null | undefined): PeakOverride | null =>
    word === null || word === undefined ? null : (overrides.get(word.toLowerCase()) ?? null);

  return {
    rate({ member, memoryTotalBytes, parent, parentMemoryBytes }) {
      const { vendor, reading } = member;
      const name = parent?.reading.name ?? reading.name;
      const found = findPeak({
        vendor: vendor.name,
        name,
        facts: reading.facts,
        memoryTotalBytes,
        // A partition without a word for its kind is one all the same.
        profile: parent === null ? null : (reading.profile ?? 'partition'),
        override: said(parent?.reading.id) ?? said(name),
        wholeFacts: parent?.reading.facts ?? null,
        wholeMemoryBytes: parentMemoryBytes,
      });
      const own = said(reading.id);
      const peak = own === null ? found : overridden(found, own, reading.id);
      // The same object while nothing has changed: derived columns are made anew for another one.
      const now = { peak, facts: reading.facts };
      const before = rated.get(member.slot);
      if (JSON.stringify(before) !== JSON.stringify(now)) rated.set(member.slot, now);
      return {
        peakFlops: peak.peakFlops,
        peakMethod: peak.method,
        peakSource: peak.source,
        achievedMethod: methods.achieved(member.slot),
        energyMethod: methods.energy(member.slot),
      };
    },
    of: (slot) => rated.get(slot) ?? null,
  };
}
