// What the scheduler has stored of one stream: copied from an offset on, over broken connections, and searched for
// the beginning of its last lines.
import type { OutputsView } from '../protocol/api.ts';
import type { StoredGap } from '../protocol/output-gap.ts';
import { type Client, isPassing, lost } from './client.ts';
import { pause } from './output.ts';

export type OutputName = 'stdout' | 'stderr';

const MAX_RETRIES = 10;
const RETRY_MS = 500;
/** First look for the last lines; each further one looks at twice as much, up to SEARCHED_BYTES_MAX. */
const SEARCHED_BYTES = 64 * 1024;
const SEARCHED_BYTES_MAX = 256 * 1024 * 1024;
const LINE_FEED = 0x0a;

export interface CopySink {
  write(bytes: Uint8Array): Promise<void>;
  /** A gap, told before the byte that follows it. */
  gap(gap: StoredGap, seenBytes: number): void;
  /** Those of this stream, in order. */
  readonly gaps: readonly StoredGap[];
}

const heldOf = (outputs: OutputsView, stream: OutputName): number =>
  stream === 'stdout' ? outputs.stdoutBytes : outputs.stderrBytes;

/** Copies what is stored now, going on by offset when the connection breaks. */
export async function copyStored(
  client: Client,
  jobId: string,
  outputs: OutputsView,
  stream: OutputName,
  from: number,
  sink: CopySink,
): Promise<void> {
  const held = heldOf(outputs, stream);
  const gaps = sink.gaps.filter((gap) => gap.atByte >= from);
  let offset = from;

  /** Writes the bytes in pieces, each gap told between those that it lies between. */
  async function write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      tellDue();
      const [next] = gaps;
      const end = next === undefined ? bytes.length : Math.min(bytes.length, at + next.atByte - offset);
      await sink.write(bytes.subarray(at, end));
      offset += end - at;
      at = end;
    }
  }

  function tellDue(): void {
    while (gaps[0] !== undefined && gaps[0].atByte <= offset) {
      const gap = gaps.shift();
      if (gap !== undefined) sink.gap(gap, offset);
    }
  }

  for (let attempt = 0; offset < held; attempt += 1) {
    const before = offset;
    try {
      for await (const bytes of readStored(client, jobId, outputs, stream, offset)) await write(bytes);
      if (offset === before) break;
    } catch (error) {
      if (!isPassing(error) || attempt >= MAX_RETRIES) throw error;
      await pause(RETRY_MS);
    }
  }
  tellDue();
}

async function* readStored(
  client: Client,
  jobId: string,
  outputs: OutputsView,
  stream: OutputName,
  offset: number,
): AsyncGenerator<Uint8Array> {
  const response = await client.openOutput(jobId, stream, offset, outputs.attempt);
  try {
    const iterator = (response as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]();
    for (;;) {
      const next = await iterator.next().catch((error: unknown) => {
        throw lost(client, error);
      });
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    response.destroy();
  }
}

/** Where the last `lines` lines begin; a line that is not ended counts. Not further back than 256 MiB. */
export async function offsetOfLines(
  client: Client,
  jobId: string,
  outputs: OutputsView,
  stream: OutputName,
  lines: number,
): Promise<number> {
  const held = heldOf(outputs, stream);
  if (lines === 0) return held;
  for (let searched = SEARCHED_BYTES; ; searched *= 2) {
    const from = Math.max(0, held - searched);
    const found = await lastLines(readStored(client, jobId, outputs, stream, from), from, held, lines);
    if (found !== null) return found;
    if (from === 0 || searched >= SEARCHED_BYTES_MAX) return from;
  }
}

/** Where the last lines of these bytes begin, or null where they have fewer; a ring of as many places is kept. */
async function lastLines(
  pieces: AsyncIterable<Uint8Array>,
  from: number,
  held: number,
  lines: number,
): Promise<number | null> {
  const begins: number[] = [];
  let offset = from;
  for await (const bytes of pieces) {
    const piece = bytes.subarray(0, Math.max(0, held - offset));
    for (let at = piece.indexOf(LINE_FEED); at >= 0; at = piece.indexOf(LINE_FEED, at + 1)) {
      const begin = offset + at + 1;
      if (begin < held) begins.push(begin);
    }
    offset += piece.length;
    if (begins.length > 2 * lines) begins.splice(0, begins.length - lines);
    if (offset >= held) break;
  }
  return begins.length >= lines ? (begins.at(-lines) ?? null) : null;
}
