// Where the gaps of an output lie in what is kept of it, and how they are told. A job writes bytes 0 to N of a stream;
// what is kept is joined without them, so that offsets in it are smaller by all gaps before.
import type { OutputGap } from './result.ts';

export interface StoredGap extends OutputGap {
  /** The first kept byte after the gap, as an offset in what is kept. */
  readonly atByte: number;
}

/** The gaps of both streams in the order of their places; empty ones are left out. */
export function storedGaps(gaps: readonly OutputGap[]): readonly StoredGap[] {
  const missing = { stdout: 0, stderr: 0 };
  const placed: StoredGap[] = [];
  for (const gap of gaps.toSorted((a, b) => a.fromByte - b.fromByte)) {
    const bytes = gap.toByte - gap.fromByte;
    if (bytes <= 0) continue;
    placed.push({ ...gap, atByte: Math.max(0, gap.fromByte - missing[gap.stream]) });
    missing[gap.stream] += bytes;
  }
  return placed;
}

const reasons = {
  quota: 'by its quota',
  disk: 'because the disk of its node refused them',
  lost: 'because its shim was killed',
} as const satisfies Record<OutputGap['reason'], string>;

/**
 * `3.20 GB of stdout left out here by its quota`; `sizeOf` formats bytes, `seenBytes` is what the reader has seen of the
 * stream, null for one that does not look at it.
 */
export function describeGap(
  gap: StoredGap,
  seenBytes: number | null,
  sizeOf: (bytes: number) => string,
): string {
  const where = seenBytes === gap.atByte ? 'here' : `after the first ${sizeOf(gap.atByte)}`;
  return `${sizeOf(gap.toByte - gap.fromByte)} of ${gap.stream} left out ${where} ${reasons[gap.reason]}`;
}
