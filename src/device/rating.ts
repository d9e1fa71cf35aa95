// What a device is rated with: its peaks, and by which method its achieved rate and its energy are told. Keeps the
// peak of each device for the columns that are derived from it.
import type { DeviceRecord } from '../protocol/device.ts';
import type { ComputeFacts } from './accelerator.ts';
import { findPeak, overridden, type Peak, type PeakOverride } from './peak/peak.ts';
import type { Rating } from './record.ts';
import type { Member } from './roster.ts';

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
  rate(member: Member, memoryTotalBytes: number | null): Rating;
  of(slot: number): RatedDevice | null;
}

/** `overrides`: what the operator says, by device name or id (node.peakFlops). */
export function createRatings(overrides: ReadonlyMap<string, PeakOverride>, methods: Methods): Ratings {
  const rated = new Map<number, RatedDevice>();
  /** Whole devices by vendor and id: partitions have their name and their share. */
  const wholes = new Map<string, { name: string | null; facts: ComputeFacts; memoryBytes: number | null }>();

  const said = (word: string | null): PeakOverride | null =>
    word === null ? null : (overrides.get(word.toLowerCase()) ?? null);

  function peakOf({ vendor, reading }: Member, memoryBytes: number | null): Peak {
    const { id, parentId, profile, facts } = reading;
    const key = `${vendor.name}/${parentId ?? id}`;
    if (parentId === null) wholes.set(key, { name: reading.name, facts, memoryBytes });
    const whole = parentId === null ? null : (wholes.get(key) ?? null);
    const name = whole?.name ?? reading.name;
    const ofWhole = (parentId === null ? null : said(parentId)) ?? said(name);
    const peak = findPeak({
      vendor: vendor.name,
      name,
      facts,
      memoryTotalBytes: memoryBytes,
      // A partition without a word for its kind is one all the same.
      profile: parentId === null ? null : (profile ?? ''),
      override: ofWhole,
      wholeFacts: whole?.facts ?? null,
      wholeMemoryBytes: whole?.memoryBytes ?? null,
    });
    const own = said(id);
    return own === null ? peak : overridden(peak, own, id);
  }

  return {
    rate(member, memoryTotalBytes) {
      const peak = peakOf(member, memoryTotalBytes);
      rated.set(member.slot, { peak, facts: member.reading.facts });
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
