// How long a chain is kept: whole segments go, the oldest first, when they are older than `keepMs` or all together take
// more than `quotaBytes`. The head then anchors the first one that is kept, so that its beginning cannot be moved by
// anybody else. Segments may be copied elsewhere before; a copy of all of them verifies as well.
import type { Clock } from '../base/clock.ts';
import { parseLine } from './chain.ts';
import type { AuditDisk } from './disk.ts';
import type { HeadBody } from './head.ts';
import { listSegments, readFirstLine } from './segment.ts';

export interface RetentionLimits {
  /** Null: for ever. */
  readonly keepMs: number | null;
  readonly quotaBytes: number | null;
}

export interface Removal {
  readonly segments: readonly number[];
  readonly first: HeadBody['first'];
}

export interface Retention {
  /** What goes, or null. `present` is the segment that is written to. Rejects with the system's error. */
  decide(present: number, first: HeadBody['first']): Promise<Removal | null>;
}

export function createRetention(
  folder: string,
  disk: Pick<AuditDisk, 'measure'>,
  limits: RetentionLimits,
  clock: Pick<Clock, 'wallMs'>,
): Retention {
  return {
    async decide(present, first) {
      const segments = listSegments(folder).filter((number) => number >= first.segment && number < present);
      const sizes = await Promise.all(segments.map((number) => disk.measure(number)));
      let bytes = sizes.reduce((sum, one) => sum + one.bytes, 0);
      let count = 0;
      for (const { bytes: ofOne, changedMs } of sizes) {
        const isOld = limits.keepMs !== null && clock.wallMs() - changedMs > limits.keepMs;
        const isTooMuch = limits.quotaBytes !== null && bytes > limits.quotaBytes;
        if (!isOld && !isTooMuch) break;
        bytes -= ofOne;
        count += 1;
      }
      // What is written to has no first line yet, so the one before it stays.
      count = Math.min(count, segments.length - 1);
      const kept = segments[count];
      if (count <= 0 || kept === undefined) return null;
      const line = readFirstLine(folder, kept);
      const record = line === null ? null : parseLine(line).record;
      if (record === null) return null;
      return {
        segments: segments.slice(0, count),
        first: { segment: kept, sequence: record.sequence, previous: record.previous },
      };
    },
  };
}
