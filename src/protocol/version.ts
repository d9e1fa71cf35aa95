// Protocol versions: which ones this build speaks, and which one two peers choose. Each side tells its range, in
// challenge and hello; the scheduler answers with the highest that both speak, or refuses with both ranges in words.
import { isNextBuild } from './next.ts';

export interface VersionRange {
  readonly min: number;
  readonly max: number;
}

//   1  orders are not signed
//   2  orders are signed (order.ts), and so is what their results are adopted by
export const PROTOCOL_VERSION = 2;
/** From this version on nothing is ordered without a signature. */
export const SIGNED_SINCE_VERSION = 2;
/** All that this build speaks. */
export const ownVersions: VersionRange = {
  min: 1,
  max: isNextBuild ? PROTOCOL_VERSION + 1 : PROTOCOL_VERSION,
};

/** The highest version in both ranges, or null. */
export function chooseVersion(own: VersionRange, peer: VersionRange): number | null {
  const highest = Math.min(own.max, peer.max);
  return highest >= Math.max(own.min, peer.min) ? highest : null;
}

/** `version 1`, `versions 1 to 3`. */
export function describeVersions({ min, max }: VersionRange): string {
  return min === max ? `version ${min}` : `versions ${min} to ${max}`;
}

/** All that this build speaks, without what is older than `least`. */
export function versionsFrom(least: number): VersionRange {
  return { min: Math.max(ownVersions.min, least), max: ownVersions.max };
}
