// When which byte of a stream came: a small file beside the output, so that it can be read from a time on.
//
//   16 bytes a record, two doubles (big endian): first a header [version 1, least ms between entries], then entries
//   [wall clock ms, offset]: bytes from that offset on came at that time or later. Stamps never go back.
//
// At most an entry a second; when there are MAX_ENTRIES, every second one goes and the least distance doubles. A
// stream whose output came within one second has no file. The index may lag or be lost: reading from a time then
// begins earlier, never later. So nothing here is synced, and a failed write only makes it coarser.
import { appendFile, readFile, rename, writeFile } from 'node:fs/promises';

/** Least time between two entries of a young index. */
export const TIMES_PERIOD_MS = 1000;
/** 128 KiB a stream at most. */
export const MAX_TIMES_ENTRIES = 8192;
const VERSION = 1;
const RECORD_BYTES = 16;

interface Entry {
  readonly stampMs: number;
  readonly offset: number;
}

export interface OutputTimes {
  /**
   * Bytes from `offset` on have come now. Returns at once with null unless an entry is due; else resolves when it is
   * written, or could not be.
   */
  note(nowMs: number, offset: number): Promise<void> | null;
  /** Where what came at or after `stampMs` begins, as far as is known: 0 where nothing is. */
  offsetAt(stampMs: number): Promise<number>;
}

/** `isNew`: the stream is empty, there is no index on disk to go on with. */
export function openOutputTimes(path: string, isNew: boolean): OutputTimes {
  let isLoaded = isNew;
  let count = 0;
  let periodMs = TIMES_PERIOD_MS;
  let lastStampMs = Number.NEGATIVE_INFINITY;
  /** The first entry, while it is the only one: most streams never need a file. */
  let only: Entry | null = null;

  async function load(): Promise<void> {
    isLoaded = true;
    const { entries, period } = parseTimes(await readIndex(path));
    count = entries.length;
    periodMs = period;
    lastStampMs = entries.at(-1)?.stampMs ?? Number.NEGATIVE_INFINITY;
  }

  async function add(nowMs: number, offset: number): Promise<void> {
    try {
      if (!isLoaded) await load();
      const stampMs = Math.max(nowMs, lastStampMs);
      if (stampMs - lastStampMs < periodMs) return;
      lastStampMs = stampMs;
      if (count === 0) {
        count = 1;
        only = { stampMs, offset };
        return;
      }
      if (only !== null) {
        await writeFile(path, formatTimes(periodMs, [only, { stampMs, offset }]), { mode: 0o600 });
        only = null;
      } else await appendFile(path, formatEntry(stampMs, offset), { mode: 0o600 });
      count += 1;
      if (count >= MAX_TIMES_ENTRIES) await thin();
    } catch {
      // Coarser from here on.
    }
  }

  async function thin(): Promise<void> {
    const { entries } = parseTimes(await readIndex(path));
    const kept = entries.filter((_, at) => at % 2 === 0);
    periodMs *= 2;
    await writeFile(`${path}.new`, formatTimes(periodMs, kept), { mode: 0o600 });
    await rename(`${path}.new`, path);
    count = kept.length;
  }

  return {
    note: (nowMs, offset) => (isLoaded && nowMs - lastStampMs < periodMs ? null : add(nowMs, offset)),
    async offsetAt(stampMs) {
      const entries = only === null ? parseTimes(await readIndex(path)).entries : [only];
      let low = 0;
      for (let high = entries.length; low < high; ) {
        const middle = (low + high) >>> 1;
        if ((entries[middle]?.stampMs ?? 0) <= stampMs) low = middle + 1;
        else high = middle;
      }
      return entries[low - 1]?.offset ?? 0;
    },
  };
}

async function readIndex(path: string): Promise<Buffer> {
  return readFile(path).catch(() => Buffer.alloc(0));
}

/** Entries as far as they make sense; a torn or foreign file is an empty index. */
export function parseTimes(bytes: Buffer): { readonly entries: readonly Entry[]; readonly period: number } {
  const entries: Entry[] = [];
  if (bytes.length < RECORD_BYTES || bytes.readDoubleBE(0) !== VERSION)
    return { entries, period: TIMES_PERIOD_MS };
  const told = bytes.readDoubleBE(8);
  const period = Number.isFinite(told) && told >= TIMES_PERIOD_MS ? told : TIMES_PERIOD_MS;
  for (let at = RECORD_BYTES; at + RECORD_BYTES <= bytes.length; at += RECORD_BYTES) {
    const stampMs = bytes.readDoubleBE(at);
    const offset = bytes.readDoubleBE(at + 8);
    const last = entries.at(-1);
    const follows = stampMs >= (last?.stampMs ?? 0) && offset >= (last?.offset ?? 0);
    if (!follows || !Number.isSafeInteger(offset)) break;
    entries.push({ stampMs, offset });
  }
  return { entries, period };
}

function formatTimes(periodMs: number, entries: readonly Entry[]): Buffer {
  return Buffer.concat([
    formatEntry(VERSION, periodMs),
    ...entries.map(({ stampMs, offset }) => formatEntry(stampMs, offset)),
  ]);
}

function formatEntry(first: number, second: number): Buffer {
  const record = Buffer.alloc(RECORD_BYTES);
  record.writeDoubleBE(first, 0);
  record.writeDoubleBE(second, 8);
  return record;
}
