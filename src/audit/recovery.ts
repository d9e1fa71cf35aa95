// What a chain's folder is found to be when it is opened, and where it goes on. Three cases:
//   whole            the last segment fits and holds what the signed head names: go on behind its last line
//   torn tail        something unfinished stands behind that, the trace of a crash: cut off, kept aside, noted (`tail.cut`)
//   damage           what the head names is missing or changed, there is no head, or a whole record does not fit, which no
//                    crash does: nothing is mended. The old segments stay as they are, and the chain goes on in a new one
//                    that begins with `chain.broken`
// Only the last segment is read in full; the others are for `flopd audit verify`.
import { closeSync, constants, fsyncSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { AuditFacts, AuditKind, AuditRecord } from '../protocol/audit.ts';
import { hashOf, NOTHING_HASH, parseLine } from './chain.ts';
import { type HeadBody, readHead } from './head.ts';
import { listSegments, readFirstLine, readLastLine, readLines, segmentName } from './segment.ts';

/** What is cut off is kept for people up to this much. */
const CUT_BYTES_MAX = 1024 * 1024;

export interface ChainStart {
  /** Segment to write to, and how long it is; 0 for one that is to be made. */
  readonly segment: number;
  readonly bytes: number;
  /** The last record of the chain, and the hash of its line. */
  readonly sequence: number;
  readonly hash: string;
  readonly first: HeadBody['first'];
  /** To be written before anything else. */
  readonly notes: readonly { readonly kind: AuditKind; readonly facts: AuditFacts }[];
  /** The last records that are whole, oldest first; empty where the last writer closed it. */
  readonly tail: readonly AuditRecord[];
  /** The last writer closed it. */
  readonly isClean: boolean;
  /** In words, where the chain was found damaged. */
  readonly damage: string | null;
}

/** Reads the folder, cuts a torn tail off. Throws the system's error where it cannot be read or written. */
export function recoverChain(folder: string, trusted: readonly string[]): ChainStart {
  const segments = listSegments(folder);
  const head = readHead(folder, trusted);
  const last = segments.at(-1);
  if (last === undefined) {
    // The head is written first, so that a chain is never without one.
    if (head.body === null || head.body.sequence > 0) return startAnew(head, segments, folder);
    return { ...fresh, segment: head.body.segment };
  }
  if (head.body === null) return broken(folder, segments, null, head.problem);
  return goOn(folder, segments, last, head.body);
}

const fresh: ChainStart = {
  segment: 1,
  bytes: 0,
  sequence: 0,
  hash: NOTHING_HASH,
  first: { segment: 1, sequence: 1, previous: NOTHING_HASH },
  notes: [],
  tail: [],
  isClean: true,
  damage: null,
};

function startAnew(
  head: ReturnType<typeof readHead>,
  segments: readonly number[],
  folder: string,
): ChainStart {
  if (head.body === null && head.problem.endsWith('is missing')) return fresh;
  return broken(folder, segments, head.body, head.problem ?? 'all segments are missing');
}

function goOn(folder: string, segments: readonly number[], last: number, head: HeadBody): ChainStart {
  const found = readWhole(folder, last);
  const earlier = segments.slice(0, -1);
  const before = earlier.at(-1);
  // A segment that was only just begun: the chain ends in the one before, and goes on here.
  const isBegun = found.records.length === 0 && before !== undefined;
  const base = isBegun ? readWhole(folder, before) : found;
  const why = whyHeadFits(head, base, folder, isBegun ? earlier.slice(0, -1) : earlier);
  if (why !== null) return broken(folder, segments, head, why);
  if (isBegun && base.cut.length > 0)
    return broken(
      folder,
      segments,
      head,
      `${segmentName(before)} has no whole end, and another was begun behind it`,
    );
  const end = base.records.at(-1);
  if (found.hasStrangers)
    return broken(folder, segments, head, `a record behind ${end?.sequence ?? head.sequence} does not fit`);
  const notes: ChainStart['notes'][number][] = [];
  if (found.cut.length > 0) {
    cutOff(folder, last, found.goodBytes, found.cut, (end?.sequence ?? head.sequence) + 1);
    notes.push({
      kind: 'tail.cut',
      facts: {
        segment: segmentName(last),
        atByte: found.goodBytes,
        bytes: found.cut.length,
        sha256: hashOf(found.cut),
        why: found.problem ?? 'no newline',
      },
    });
  }
  const isClean = found.cut.length === 0 && (end === undefined || end.kind === 'closed');
  return {
    segment: last,
    bytes: found.goodBytes,
    sequence: end?.sequence ?? head.sequence,
    hash: end === undefined ? head.hash : base.hash,
    first: head.first,
    notes,
    tail: isClean
      ? []
      : isBegun
        ? base.records
        : [...recordsBefore(folder, earlier, base.records[0]), ...base.records],
    isClean,
    damage: null,
  };
}

interface Whole {
  /** Up to the first line that does not fit. */
  readonly records: readonly AuditRecord[];
  readonly hashes: readonly string[];
  /** Of the last of them. */
  readonly hash: string;
  readonly goodBytes: number;
  /** Everything behind them. */
  readonly cut: Uint8Array;
  /** A whole record stands behind them: no crash leaves one that does not fit. */
  readonly hasStrangers: boolean;
  /** What is wrong with the first line behind them; null where it only has no end. */
  readonly problem: string | null;
}

function readWhole(folder: string, number: number): Whole {
  const { lines, rest } = readLines(folder, number);
  const records: AuditRecord[] = [];
  const hashes: string[] = [];
  let goodBytes = 0;
  let problem: string | null = null;
  for (const line of lines) {
    const { record, problem: what } = parseLine(line);
    const before = records.at(-1);
    const fits =
      record !== null &&
      (before === undefined ||
        (record.previous === hashes.at(-1) && record.sequence === before.sequence + 1));
    if (!fits) {
      problem = what ?? 'it does not fit the record before it';
      break;
    }
    records.push(record);
    hashes.push(hashOf(line));
    goodBytes += line.length + 1;
  }
  const misfits = lines.slice(records.length);
  const behind = misfits.flatMap((line) => [line, NEWLINE]);
  const hasStrangers = misfits.some((line) => parseLine(line).record !== null);
  const cut = Buffer.concat([...behind, rest]);
  return { records, hashes, hash: hashes.at(-1) ?? NOTHING_HASH, goodBytes, cut, hasStrangers, problem };
}

const NEWLINE = Buffer.from('\n');

/** Why the record that the head names is not where it should be; null where it is. */
function whyHeadFits(head: HeadBody, last: Whole, folder: string, earlier: readonly number[]): string | null {
  const first = last.records[0];
  const end = last.records.at(-1);
  if (head.sequence === 0) return null;
  if (first === undefined || end === undefined || head.sequence > end.sequence)
    return missing(head, end ?? null);
  const before = earlier.at(-1);
  const isLed = before === undefined || hashOfLast(folder, before) === first.previous;
  if (!isLed) return `record ${first.sequence} does not follow the segment before it`;
  const found =
    head.sequence >= first.sequence
      ? last.hashes[head.sequence - first.sequence]
      : head.sequence === first.sequence - 1
        ? first.previous
        : hashAt(folder, earlier, head.sequence);
  return found === head.hash ? null : `record ${head.sequence} was changed`;
}

function hashOfLast(folder: string, number: number): string | null {
  const line = readLastLine(folder, number);
  return line === null ? null : hashOf(line);
}

/** The hash of a record in an earlier segment, where the head has not kept up; null where it is not there. */
function hashAt(folder: string, segments: readonly number[], sequence: number): string | null {
  for (const number of [...segments].reverse()) {
    const { records, hashes } = readWhole(folder, number);
    const [first] = records;
    if (first !== undefined && first.sequence <= sequence) return hashes[sequence - first.sequence] ?? null;
  }
  return null;
}

function missing(head: HeadBody, end: AuditRecord | null): string {
  return `records up to ${head.sequence} were on disk, ${end === null ? 'none is' : `only those up to ${end.sequence} are whole`}`;
}

/** A new segment behind everything that there is; what was found stays for people to look at. */
function broken(folder: string, segments: readonly number[], head: HeadBody | null, why: string): ChainStart {
  const last = segments.at(-1);
  const line = last === undefined ? null : readLastLine(folder, last);
  const record = line === null ? null : parseLine(line).record;
  const sequence = Math.max(head?.sequence ?? 0, record?.sequence ?? 0);
  const hash = line === null ? (head?.hash ?? NOTHING_HASH) : hashOf(line);
  return {
    segment: Math.max(last ?? 0, head?.segment ?? 0) + 1,
    bytes: 0,
    sequence,
    hash,
    first: head?.first ?? firstOf(folder, segments),
    notes: [
      {
        kind: 'chain.broken',
        facts: {
          why,
          segment: last === undefined ? null : segmentName(last),
          headSequence: head?.sequence ?? null,
        },
      },
    ],
    tail: [],
    isClean: false,
    damage: why,
  };
}

function firstOf(folder: string, segments: readonly number[]): HeadBody['first'] {
  const segment = segments[0] ?? 1;
  const line = segments.length === 0 ? null : readFirstLine(folder, segment);
  const record = line === null ? null : parseLine(line).record;
  return { segment, sequence: record?.sequence ?? 1, previous: record?.previous ?? NOTHING_HASH };
}

/** The records of the segment before this one, where they lead to it. */
function recordsBefore(
  folder: string,
  earlier: readonly number[],
  first: AuditRecord | undefined,
): readonly AuditRecord[] {
  const before = earlier.at(-1);
  if (before === undefined || first === undefined) return [];
  const { records, hash } = readWhole(folder, before);
  return hash === first.previous ? records : [];
}

/** Keeps what is cut aside, then shortens the segment. */
function cutOff(folder: string, number: number, bytes: number, cut: Uint8Array, sequence: number): void {
  try {
    const aside = openSync(join(folder, `cut-${sequence}.bin`), 'w', 0o600);
    try {
      writeSync(aside, cut.subarray(0, CUT_BYTES_MAX));
    } finally {
      closeSync(aside);
    }
  } catch {
    // Kept for people only; its length and hash stand in the chain.
  }
  const fd = openSync(join(folder, segmentName(number)), constants.O_WRONLY | constants.O_NOFOLLOW);
  try {
    ftruncateSync(fd, bytes);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
