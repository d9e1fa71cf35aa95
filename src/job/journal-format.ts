// The journal's format: an append-only file of records, one line each:
//
//   CRC32 (8 hex digits) SPACE length of the body in bytes (decimal) SPACE body (JSON, no raw newline) NEWLINE
//
// A line stands for itself, so damage costs at most the records it touches: the reader goes on at the next line.
// Damage that reaches the end is a torn tail, the trace of a crash. Zeros at the end are space set aside.
import { crc32 } from 'node:zlib';

const HEADER = /^([0-9a-f]{8}) (\d{1,9}) /;
const HEADER_BYTES_MAX = 19;
const NEWLINE = 0x0a;

export interface Damage {
  readonly from: number;
  readonly to: number;
  readonly kind: 'torn' | 'damaged';
}

export interface ReadJournal {
  readonly records: readonly unknown[];
  readonly damage: readonly Damage[];
}

export function encodeRecord(record: object): string {
  const body = JSON.stringify(record);
  const bytes = Buffer.byteLength(body);
  return `${crc32(body).toString(16).padStart(8, '0')} ${bytes} ${body}\n`;
}

/** Length of what was written, without the zeros behind it. */
export function writtenBytes(bytes: Uint8Array): number {
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0) end -= 1;
  return end;
}

/** Reads everything that is whole. Never throws. */
export function parseJournal(bytes: Uint8Array): ReadJournal {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, writtenBytes(bytes));
  const records: unknown[] = [];
  const damage: { from: number; to: number }[] = [];
  const spoil = (from: number, to: number): void => {
    const last = damage.at(-1);
    if (last !== undefined && last.to === from) last.to = to;
    else damage.push({ from, to });
  };
  for (let at = 0; at < buffer.length; ) {
    const header = HEADER.exec(buffer.toString('latin1', at, at + HEADER_BYTES_MAX));
    const bodyAt = at + (header?.[0].length ?? 0);
    const bodyEnd = bodyAt + Number(header?.[2] ?? Number.NaN);
    const record =
      header !== null && bodyEnd <= buffer.length
        ? parseBody(buffer, bodyAt, bodyEnd, header[1] ?? '')
        : null;
    if (record === null) {
      const newline = buffer.indexOf(NEWLINE, at);
      const next = newline < 0 ? buffer.length : newline + 1;
      spoil(at, next);
      at = next;
      continue;
    }
    records.push(record.value);
    at = bodyEnd;
    if (at < buffer.length && buffer[at] !== NEWLINE) spoil(at, at + 1);
    // A last record whose newline is missing is whole, but the next must not be glued to it.
    if (at === buffer.length) spoil(at, at);
    else at += 1;
  }
  return {
    records,
    damage: damage.map(({ from, to }) => ({ from, to, kind: to === buffer.length ? 'torn' : 'damaged' })),
  };
}

function parseBody(buffer: Buffer, from: number, to: number, checksum: string): { value: unknown } | null {
  const body = buffer.subarray(from, to);
  if (crc32(body) !== Number.parseInt(checksum, 16)) return null;
  try {
    return { value: JSON.parse(body.toString('utf8')) };
  } catch {
    return null;
  }
}
