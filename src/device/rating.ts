// Rates a device: its peaks, and by what its achieved rate and its energy are found.
import type { Rate } from './census.ts';
import { findPeak, type PeakOverride } from './peak/peak.ts';

/** What the operator says of devices by name or id (`node.peakFlops`); null where nothing is said. */
export type FindOverride = (vendor: string, name: string | null, id: string) => PeakOverride | null;

export function rateDevice(overrideOf: FindOverride): Rate {
  return ({ member, memoryTotalBytes, parent, parentMemoryBytes }) => {
    const { vendor, reading } = member;
    const { peakFlops, method, source } = findPeak({
      vendor: vendor.name,
      name: parent?.reading.name ?? reading.name,
      facts: reading.facts,
      memoryTotalBytes,
      profile: parent === null ? null : (reading.profile ?? 'partition'),
      override: overrideOf(vendor.name, reading.name, parent?.reading.id ?? reading.id),
      wholeFacts: parent?.reading.facts ?? null,
      wholeMemoryBytes: parentMemoryBytes,
    });
    return {
      peakFlops,
      peakMethod: method,
      peakSource: source,
      achievedMethod: null,
      energyMethod: null,
    };
  };
}
