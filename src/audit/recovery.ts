// What a chain's folder is found to be when it is opened, and where it goes on. Three cases:
//   whole            the last segment fits and holds what the signed head names: go on behind its last line
//   torn tail        something unfinished stands behind that, the trace of a crash: cut off, kept aside, noted (`tail.cut`)
//   damage           what the head names is missing or changed, or there is no head: nothing is mended. The old segments
//                    stay as they are, and the chain goes on in a new one that begins with `chain.broken`
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
  /** The last records that are whole, oldest first. */
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
  const { lines, wholeBytes, rest } = readLines(folder, last);
  const records: AuditRecord[] = [];
  let hash = '';
  let goodBytes = 0;
  let problem: string | null = null;
  for (const line of lines) {
    const { record, problem: what } = parseLine(line);
    const before = records.at(-1);
    if (record === null) problem = what;
    else if (before !== undefined && (record.previous !== hash || record.sequence !== before.sequence + 1))
      problem = 'it does not fit the record before it';
    if (record === null || problem !== null) break;
    records.push(record);
    hash = hashOf(line);
    goodBytes += line.length + 1;
  }
  const end = records.at(-1);
  const start = records[0];
  const fits = headFits(head, records, lines, folder, segments);
  if (!fits.fits) return broken(folder, segments, head, fits.why);
  const cutBytes = wholeBytes - goodBytes + rest.length;
  const notes: ChainStart['notes'][number][] = [];
  if (cutBytes > 0) {
    const cut = Buffer.concat([
      ...lines.slice(records.length).flatMap((line) => [line, Buffer.from('\n')]),
      rest,
    ]);
    cutOff(folder, last, goodBytes, cut, (end?.sequence ?? head.sequence) + 1);
    notes.push({
      kind: 'tail.cut',
      facts: {
        segment: segmentName(last),
        atByte: goodBytes,
        bytes: cutBytes,
        sha256: hashOf(cut),
        why: problem ?? 'no newline',
      },
    });
  }
  return {
    segment: last,
    bytes: goodBytes,
    sequence: end?.sequence ?? head.sequence,
    hash: end === undefined ? head.hash : hash,
    first: head.first,
    notes,
    tail: [...tailOfEarlier(folder, segments, start), ...records],
    isClean: cutBytes === 0 && (end === undefined || end.kind === 'closed'),
    damage: null,
  };
}

/** Whether the record that the head names is where it should be. */
function headFits(
  head: HeadBody,
  records: readonly AuditRecord[],
  lines: readonly Uint8Array[],
  folder: string,
  segments: readonly number[],
): { readonly fits: true } | { readonly fits: false; readonly why: string } {
  const first = records[0];
  const end = records.at(-1);
  if (first === undefined || end === undefined) {
    // Begun and nothing whole in it: the head must name the last line of the one before.
    const before = segments.at(-2);
    const line = before === undefined ? null : readLastLine(folder, before);
    const found = line === null ? NOTHING_HASH : hashOf(line);
    return found === head.hash ? { fits: true } : { fits: false, why: missing(head, null) };
  }
  if (head.sequence > end.sequence) return { fits: false, why: missing(head, end) };
  const found =
    head.sequence < first.sequence
      ? first.previous
      : hashOf(lines[head.sequence - first.sequence] as Uint8Array);
  if (head.sequence < first.sequence - 1) return beginsRight(folder, segments, first);
  return found === head.hash ? { fits: true } : { fits: false, why: `record ${head.sequence} was changed` };
}

/** The head lags behind a whole segment: then the segment before must lead to this one. */
function beginsRight(
  folder: string,
  segments: readonly number[],
  first: AuditRecord,
): { readonly fits: true } | { readonly fits: false; readonly why: string } {
  const before = segments.at(-2);
  const line = before === undefined ? null : readLastLine(folder, before);
  if (line !== null && hashOf(line) === first.previous) return { fits: true };
  return { fits: false, why: `record ${first.sequence} does not fit the segment before it` };
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

/** The records of the segment before, where this one has only just begun. */
function tailOfEarlier(
  folder: string,
  segments: readonly number[],
  start: AuditRecord | undefined,
): AuditRecord[] {
  const before = segments.at(-2);
  if (before === undefined) return [];
  const records = readLines(folder, before).lines.flatMap((line) => parseLine(line).record ?? []);
  return start === undefined || records.at(-1)?.sequence === start.sequence - 1 ? records : [];
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
