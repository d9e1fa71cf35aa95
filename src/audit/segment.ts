// The files of a chain: `audit-000001.jsonl`, `audit-000002.jsonl` and so on, each begun where the last one had grown long
// enough.
import { closeSync, fstatSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { errnoOf } from '../base/fault.ts';

const NAME = /^audit-(\d{6,9})\.jsonl$/;
const NEWLINE = 0x0a;
/** Longest line that a record can have. */
const LINE_BYTES_MAX = 256 * 1024;

export function segmentName(number: number): string {
  return `audit-${String(number).padStart(6, '0')}.jsonl`;
}

/** Numbers of the segments in the folder, in order; empty for a folder that is not there. Throws the system's error. */
export function listSegments(folder: string): number[] {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
  return names
    .flatMap((name) => {
      const number = Number(NAME.exec(name)?.[1] ?? Number.NaN);
      return number > 0 && segmentName(number) === name ? [number] : [];
    })
    .sort((a, b) => a - b);
}

export interface Lines {
  /** Without their newlines. */
  readonly lines: readonly Uint8Array[];
  /** Offset behind the last newline. */
  readonly wholeBytes: number;
  /** What stands behind the last newline; empty where it ends with one. */
  readonly rest: Uint8Array;
}

/** Throws the system's error. */
export function readLines(folder: string, number: number): Lines {
  return splitLines(readFileSync(join(folder, segmentName(number))));
}

export function splitLines(bytes: Uint8Array): Lines {
  const lines: Uint8Array[] = [];
  let at = 0;
  for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE, at)) {
    lines.push(bytes.subarray(at, end));
    at = end + 1;
  }
  return { lines, wholeBytes: at, rest: bytes.subarray(at) };
}

/** The first line of a segment, or null where it has no whole one. Throws the system's error. */
export function readFirstLine(folder: string, number: number): Uint8Array | null {
  return splitLines(readPiece(folder, number, () => 0)).lines[0] ?? null;
}

/** The last whole line of a segment, or null. Throws the system's error. */
export function readLastLine(folder: string, number: number): Uint8Array | null {
  const { lines } = splitLines(readPiece(folder, number, (bytes) => Math.max(0, bytes - LINE_BYTES_MAX)));
  return lines.at(-1) ?? null;
}

function readPiece(folder: string, number: number, from: (bytes: number) => number): Uint8Array {
  const fd = openSync(join(folder, segmentName(number)), 'r');
  try {
    const buffer = Buffer.alloc(LINE_BYTES_MAX);
    return buffer.subarray(0, readSync(fd, buffer, 0, buffer.length, from(fstatSync(fd).size)));
  } finally {
    closeSync(fd);
  }
}
